// Creates static/img/made-with.webp: one picture of six recorded apps, three in a row, in the form in which the first
// page shows them. A real builder in demo mode creates each app and its preview; it is filled with some data, and
// photographed.
//
//   cargo build --locked && node scripts/made-with-pictures.mjs
//
// The order is that of PICTURED in src/web/made_with_view.rs. Needs Docker and Chromium, like the browser tests.

import { statSync, writeFileSync } from "node:fs";
import { done, openPage, startBrowser, startBuilder } from "../tests/browser/support.mjs";

const OUT = new URL("../static/img/made-with.webp", import.meta.url);
// Size of a tile of the picture in pixels, and of the window that it shows at a third of its size.
const TILE = { width: 400, height: 250 };
const WINDOW = { width: 1200, height: 750 };
// Maximum size in bytes, so that the first page loads quickly.
const LARGEST = 33_000;
const FIRST_QUALITY = 0.8;

const post = (url, body) =>
  fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

/** Data without which a page is empty: sent to the app. */
const FILL = {
  async shortener(url) {
    const links = ["https://example.com/a/very/long/path?with=parameters", "https://example.org/photos/2026/summer", "https://example.net/handbook/chapter-7"];
    for (const [nth, link] of links.entries()) {
      const { code } = await (await post(`${url}/links`, { url: link })).json();
      for (let visit = 0; visit <= nth * 3; visit += 1) await fetch(`${url}/${code}`, { redirect: "manual" });
    }
  },
};
/** The same, put into the browser before the page is loaded. */
const STORED = {
  game: {
    game: JSON.stringify({
      size: 4,
      score: 1948,
      hasWon: false,
      tiles: [[0, 0, 2], [0, 1, 8], [0, 2, 32], [0, 3, 128], [1, 1, 4], [1, 2, 16], [1, 3, 64], [2, 2, 2], [2, 3, 256], [3, 3, 4]]
        .map(([row, column, value], nth) => ({ id: nth + 1, row, column, value })),
    }),
    "best-4": "2216",
  },
};

/** Answers that stand in for the app's own, where it takes one from each address only. */
const ANSWERED = {
  feedback: {
    summary: { count: 5, average: 4.2, by_rating: { 1: 0, 2: 0, 3: 1, 4: 2, 5: 2 } },
    feedback: [[4, "See you next week!"], [5, ""], [4, "Best soup in town."], [3, "A bit loud near the door."], [5, "Lovely evening, the music was just right."]]
      .map(([rating, comment], nth) => ({ rating, comment, at: new Date(Date.now() - nth * 600_000).toISOString() })),
  },
};

const names = ["bakery", "booking", "dashboard", "shortener", "game", "feedback"];
const [builder, browser] = await Promise.all([startBuilder(), startBrowser()]);
try {
  const pictures = [];
  for (const name of names) {
    const page = await openPage(browser, { viewport: WINDOW, colorScheme: "light" });
    await page.goto(`${builder.origin}/made-with/${name}`);
    const description = await page.locator("[name=description]").getAttribute("value");
    const template = await page.locator("[name=template]").getAttribute("value");
    const app = `picture-${name}`;
    await builder.api("POST", "/apps", { name: app, template, description, auto_preview: false });
    await done(builder, `/apps/${app}/turns`, { prompt: description });
    await done(builder, `/apps/${app}/previews`);
    await done(builder, `/apps/${app}/publish`);
    await FILL[name]?.(builder.host(app));
    for (const [key, value] of Object.entries(STORED[name] ?? {})) {
      await page.addInitScript(([key, value]) => localStorage.setItem(key, value), [key, value]);
    }
    for (const [path, json] of Object.entries(ANSWERED[name] ?? {})) {
      await page.route(`${builder.host(app)}/${path}`, (route) => route.fulfill({ json }));
    }
    await page.goto(builder.host(app));
    await page.waitForLoadState("networkidle");
    pictures.push((await page.screenshot()).toString("base64"));
    await page.context().close();
  }
  const page = await openPage(browser);
  for (let quality = FIRST_QUALITY; ; quality -= 0.05) {
    const webp = await page.evaluate(async ([pictures, tile, quality]) => {
      const canvas = Object.assign(document.createElement("canvas"), { width: tile.width * 3, height: tile.height * 2 });
      const drawing = canvas.getContext("2d");
      drawing.imageSmoothingQuality = "high";
      for (const [nth, picture] of pictures.entries()) {
        const image = new Image();
        image.src = `data:image/png;base64,${picture}`;
        await image.decode();
        drawing.drawImage(image, (nth % 3) * tile.width, Math.floor(nth / 3) * tile.height, tile.width, tile.height);
      }
      return canvas.toDataURL("image/webp", quality);
    }, [pictures, TILE, quality]);
    writeFileSync(OUT, Buffer.from(webp.split(",")[1], "base64"));
    const { size } = statSync(OUT);
    console.log(`${size} bytes at quality ${quality.toFixed(2)}`);
    if (size <= LARGEST || quality < 0.2) break;
  }
} finally {
  await browser.close();
  await builder.stop();
}
