  // Reports where the reader is to the builder's page that shows this one in a frame, and to no other page: Slipway fills in
  // the origins of the builder's pages.
  const builders = BUILDER_ORIGINS;
  const parent = window.parent;
  let builder = "";
  const around = location.ancestorOrigins && location.ancestorOrigins[0];
  if (parent !== window && builders.includes(around)) builder = around;
  const tell = (message) => {
    if (builder) parent.postMessage(message, builder);
  };

  const at = (how) =>
    tell({
      slipway: "at",
      how,
      path: (location.pathname + location.search + location.hash).slice(0, 2000),
      title: document.title.slice(0, 200),
      scroll: [Math.round(scrollX), Math.round(scrollY)],
    });
  let soon = 0;
  const still = () => {
    clearTimeout(soon);
    soon = setTimeout(at, 150, "still");
  };
  for (const [name, how] of [["pushState", "push"], ["replaceState", "replace"]]) {
    const original = history[name];
    history[name] = function (...values) {
      const result = original.apply(this, values);
      at(how);
      // The title follows the address.
      still();
      return result;
    };
  }
  addEventListener("DOMContentLoaded", () => at("load"));
  addEventListener("load", () => at("still"));
  addEventListener("popstate", () => at("move"));
  addEventListener("hashchange", () => at("move"));
  addEventListener("scroll", still, { passive: true });

  // A new version starts at the scroll position of the version before, unless the reader scrolls meanwhile.
  let moved = false;
  for (const name of ["wheel", "touchstart", "keydown", "pointerdown"]) {
    addEventListener(name, () => (moved = true), { passive: true, capture: true });
  }
  const scrollBack = ([left, top]) => {
    const now = () => {
      if (!moved) window.scrollTo({ left, top, behavior: "instant" });
    };
    const last = () => {
      now();
      at("scrolled");
    };
    if (document.readyState === "complete") return last();
    // What is loaded later makes the page longer.
    now();
    addEventListener("load", last);
  };
  addEventListener("message", (event) => {
    if (event.source !== parent || parent === window || !builders.includes(event.origin)) return;
    const { slipway, to } = event.data || {};
    if (typeof slipway !== "string") return;
    event.stopImmediatePropagation();
    // In browsers without `ancestorOrigins`, the builder's page sends its origin this way.
    if (slipway === "hello") {
      builder = event.origin;
      at("load");
    }
    if (slipway === "scroll" && Array.isArray(to) && to.every(Number.isFinite)) scrollBack(to);
  });

