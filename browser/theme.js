// The theme changes in place: a page that is loaded anew for it would lose what is open.

document.addEventListener("slipway:theme", ({ detail }) => {
  const { theme } = detail ?? {};
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
});
