// The Code tab: the editor, finding in files, uploading by dropping, renaming, and what a file's versions changed.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { assertAccessible, assertQuiet, eventually, openAt, openPage, shoot, startBrowser, startBuilder, weigh } from "./support.mjs";

let builder;
let browser;
let page;
const site = "paper-boat";
const code = `/apps/${site}/code`;
const html = `<!doctype html>
<html lang="en">
<head>
  <title>About</title>
  <style>
    a { color: #fff; }
  </style>
</head>
<body>
  <p class="x">About the tide</p>
  <script>const high = 12; // tide
  </script>
</body>
</html>
`;
// A picture of 3 × 2 pixels.
const png = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAIAAAASFvFNAAAAEklEQVR4nGNgYPgPRQwQBKMAJ9kF+0xSsn8AAAAASUVORK5CYII=", "base64");

const put = (path, text) => builder.api("PUT", `/apps/${site}/files/${path}`, text);
const read = (path) => builder.api("GET", `/apps/${site}/files/${path}`);
const titles = async () => (await builder.api("GET", `/apps/${site}/versions`)).versions.map(({ title }) => title);

before(async () => {
  [builder, browser] = await Promise.all([startBuilder(), startBrowser()]);
  await builder.api("POST", "/apps", { name: site, template: "static-site", description: "A site about boats" });
  await put("public/about.html", html);
});
after(async () => {
  await browser?.close();
  await builder?.stop();
});
afterEach(() => page?.context().close());

const open = async (path, options) => (page = await openAt(browser, builder.origin + path, options));
const editor = () => page.locator(".cm-content");
const edit = async (path, options) => {
  await open(`${code}/${path}?edit=1`, options);
  await editor().waitFor();
};
/** The text that the form would send. */
const sends = () => page.locator("#editor").inputValue();
const forgive = (status) => (page.problems = page.problems.filter((problem) => !problem.includes(`status of ${status}`)));

describe("the editor", () => {
  for (const colorScheme of ["light", "dark"]) {
    test(`begins where the text was, in its colours, ${colorScheme}`, async () => {
      await open(`${code}/public/about.html`, { colorScheme, viewport: { width: 1440, height: 900 } });
      const colourOf = (within, text) =>
        page.locator(`${within} span`, { hasText: text }).last().evaluate((span) => getComputedStyle(span).color);
      const begin = (selector) => page.locator(selector).first().evaluate((element) => {
        const range = document.createRange();
        range.selectNodeContents(element);
        const { left } = range.getClientRects()[0];
        return { left, size: getComputedStyle(element).fontSize };
      });
      const shown = { ...(await begin(".source code")), comment: await colourOf(".source", /\/\/ tide/), name: await colourOf(".source", /^title$/) };
      await shoot(page, `${colorScheme} code viewed`);
      await page.getByRole("link", { name: "Edit" }).click();
      await editor().waitFor();
      await eventually("the editor has the focus", () => editor().evaluate((content) => content === document.activeElement));
      await page.locator(".cm-line .hc").waitFor();
      const edited = { ...(await begin(".cm-line")), comment: await colourOf(".cm-line", /\/\/ tide/), name: await colourOf(".cm-line", /^title$/) };
      assert.ok(Math.abs(edited.left - shown.left) < 1, `the text moves from ${shown.left} to ${edited.left}`);
      assert.deepEqual([edited.size, edited.comment, edited.name], [shown.size, shown.comment, shown.name]);
      await assertAccessible(page, `the editor (${colorScheme})`);
      await shoot(page, `${colorScheme} code edited`);
      await page.keyboard.press("Control+f");
      await page.locator(".cm-search input[name=search]").pressSequentially("tide");
      await eventually("it is found", async () => (await page.locator(".cm-searchMatch").count()) === 2);
      await assertAccessible(page, `the editor's search (${colorScheme})`);
      await shoot(page, `${colorScheme} code found in the file`);
      assertQuiet(page);
    });
  }

  test("Tab indents, Escape and Tab leaves, and what is typed is undone", async () => {
    await edit("public/about.html");
    await page.keyboard.press("Control+Home");
    await page.keyboard.press("Tab");
    await page.keyboard.type("é");
    assert.ok((await sends()).startsWith("  é<!doctype html>\n"));
    await page.keyboard.press("Escape");
    await page.keyboard.press("Shift+Tab");
    assert.ok(await page.evaluate(() => !document.activeElement.closest(".cm-editor") && document.activeElement !== document.body));
    await editor().focus();
    await page.keyboard.press("Control+z");
    await page.keyboard.press("Control+z");
    await eventually("all is undone", async () => (await sends()) === html);
    await page.getByText("leaves the field").waitFor();
    assertQuiet(page);
  });

  test("a key saves and the editor stays; what is typed meanwhile is not lost", async () => {
    await put("public/notes.txt", "one\n");
    await edit("public/notes.txt");
    await page.keyboard.press("Control+End");
    await page.keyboard.type("two");
    let let_go;
    const held = new Promise((resolve) => (let_go = resolve));
    await page.route("**/code/public/notes.txt", async (route) => {
      if (route.request().method() === "POST") await held;
      await route.continue();
    });
    await page.keyboard.press("Control+s");
    await page.keyboard.type("three");
    let_go();
    await page.locator("#editor-saved", { hasText: "Saved as version" }).waitFor({ state: "attached" });
    assert.equal(await read("public/notes.txt"), "one\ntwo");
    assert.equal(await sends(), "one\ntwothree");
    assert.ok(await editor().evaluate((content) => content === document.activeElement), "the focus stays");
    assert.equal(await page.evaluate(() => dispatchEvent(new Event("beforeunload", { cancelable: true }))), false, "it asks before leaving");
    await eventually("the rest is kept", () => page.evaluate(() => Object.values(localStorage).some((text) => text.includes("twothree"))));
    await page.keyboard.press("Control+s");
    await eventually("both are saved", async () => (await read("public/notes.txt")) === "one\ntwothree");
    await eventually("nothing is unsaved", () => page.evaluate(() => dispatchEvent(new Event("beforeunload", { cancelable: true }))));
    assert.ok(page.url().endsWith("/code/public/notes.txt?edit=1"));
    await page.keyboard.type("!");
    await page.keyboard.press("Control+Enter");
    await page.locator(".source").waitFor();
    assert.equal(await read("public/notes.txt"), "one\ntwothree!");
    assertQuiet(page);
  });

  test("a change by somebody else is not overwritten, and changes of other files do not matter", async () => {
    await put("public/shared.txt", "one\n");
    await edit("public/shared.txt");
    await put("public/other.txt", "other\n");
    await editor().fill("mine");
    await page.keyboard.press("Control+s");
    await eventually("it is saved", async () => (await read("public/shared.txt")) === "mine");
    await put("public/shared.txt", "theirs\n");
    await page.keyboard.type(" again");
    await page.keyboard.press("Control+s");
    await page.getByRole("alert").getByText("This file has changed since it was opened.").waitFor();
    await editor().waitFor();
    assert.equal(await sends(), "mine again");
    assert.equal(await read("public/shared.txt"), "theirs\n");
    assert.equal(await page.evaluate(() => dispatchEvent(new Event("beforeunload", { cancelable: true }))), false, "it is still unsaved");
    await shoot(page, "code conflict");
    await editor().focus();
    await page.keyboard.press("Control+s");
    await eventually("it replaces the newer one", async () => (await read("public/shared.txt")) === "mine again");
    await eventually("the warning is gone", async () => (await page.locator("#editor-problem [role=alert]").count()) === 0);
    forgive(409);
    assertQuiet(page);
  });

  test("a text field does the same where the editor does not arrive, and without scripts", async () => {
    page = await openPage(browser);
    await page.route("**/built/editor.js", (route) => route.abort("connectionreset"));
    await page.goto(`${builder.origin}${code}/public/about.html?edit=1`);
    const field = page.locator("textarea#editor");
    await field.fill("<p>By hand</p>\n");
    await field.press("Control+s");
    await eventually("it is saved", async () => (await read("public/about.html")) === "<p>By hand</p>\n");
    await page.context().close();
    page = await openPage(browser, { javaScriptEnabled: false });
    await page.goto(`${builder.origin}${code}/public/about.html?edit=1`);
    await page.locator("textarea#editor").fill(html);
    await page.getByRole("button", { name: "Save and close" }).click();
    await page.locator(".source").waitFor();
    assert.equal(await read("public/about.html"), html);
    assertQuiet(page);
  });

  test("only the page where a file is edited loads it", async () => {
    page = await openPage(browser);
    const { bytes } = await weigh(page, `${builder.origin}${code}/public/about.html`);
    assert.ok(bytes < 75_000, `the tab weighs ${bytes}`);
    const edited = await weigh(page, `${builder.origin}${code}/public/about.html?edit=1`);
    assert.ok(edited.bytes < 300_000, `with the editor ${edited.bytes}`);
    await editor().waitFor();
  });
});

describe("the files", () => {
  test("text is found in all of them, with and without scripts", async () => {
    await open(code, { viewport: { width: 1440, height: 900 } });
    await page.locator("body").press("Control+Shift+f");
    const field = page.getByRole("searchbox", { name: "Find in all files" });
    await eventually("the field has the focus", () => field.evaluate((input) => input === document.activeElement));
    await field.fill("the TIDE");
    await field.press("Enter");
    const line = page.locator(".found .match a", { hasText: "About the tide" });
    await line.waitFor();
    assert.equal(await line.locator("mark").innerText(), "the tide");
    await assertAccessible(page, "what was found");
    await shoot(page, "code find results");
    await line.click();
    const number = page.locator("#L10");
    await eventually("the line is marked", () => number.evaluate((link) => getComputedStyle(link, "::after").content !== "none"));
    assert.ok(page.url().endsWith("/public/about.html#L10"));
    await shoot(page, "code line marked");
    await page.goto(`${builder.origin}${code}?find=no+such+words`);
    await page.getByText("Nothing was found in").waitFor();
    await shoot(page, "code find nothing");
    assertQuiet(page);
    await page.context().close();
    page = await openPage(browser, { javaScriptEnabled: false, viewport: { width: 390, height: 844 } });
    await page.goto(`${builder.origin}${code}?find=`);
    await page.getByRole("searchbox", { name: "Find in all files" }).fill("tide");
    await page.getByRole("button", { name: "Find", exact: true }).click();
    await page.locator(".found .match a").first().click();
    await page.locator(".gutter a:target").waitFor();
  });

  /** Drops files on an element of the tree, each with its path, its bytes in base64. */
  const drop = (target, files) => target.evaluate((element, files) => {
    const data = new DataTransfer();
    for (const [name, bytes] of files) data.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name));
    for (const kind of ["dragenter", "dragover", "drop"]) {
      element.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: data }));
    }
  }, files.map(([name, bytes]) => [name, Buffer.from(bytes).toString("base64")]));
  const folder = (name) => page.locator("#tree-files summary", { hasText: name });

  test("files that are dropped on a folder become one version, and replacing asks", async () => {
    await open(`${code}/public/about.html`);
    await drop(folder("public"), [["logo.png", png], ["list.csv", "a,b\n"]]);
    const picture = page.locator(".file-picture img");
    await picture.waitFor();
    assert.equal((await titles())[0], "Upload 2 files");
    await eventually("the picture is shown", () => picture.evaluate((image) => image.complete && image.naturalWidth === 3));
    assert.ok(page.url().endsWith("/code/public/logo.png"));
    await assertAccessible(page, "a picture");
    await shoot(page, "code picture");
    const asked = [];
    page.on("dialog", (dialog) => {
      asked.push(dialog.message());
      return asked.length === 1 ? dialog.dismiss() : dialog.accept();
    });
    await drop(folder("public"), [["list.csv", "c,d\n"]]);
    await eventually("it asks", () => asked.length === 1);
    assert.ok(asked[0].includes("public/list.csv"));
    assert.equal(await read("public/list.csv"), "a,b\n", "the answer was no");
    await drop(folder("public"), [["list.csv", "c,d\n"]]);
    await page.locator(".source", { hasText: "c,d" }).waitFor();
    assert.equal(await read("public/list.csv"), "c,d\n");
    await drop(folder("public"), [["large.bin", "x".repeat(1_048_577)]]);
    await page.getByRole("alert").getByText("has 1.1 MiB. A file can have at most 1 MiB.").waitFor();
    assertQuiet(page);
  });

  test("an upload does not close the editor, and says what the server refuses", async () => {
    await edit("public/about.html");
    await page.keyboard.type("typed ");
    await drop(page.locator("#tree-files"), [["beside.txt", "beside\n"]]);
    await page.locator("#tree-files").getByText("beside.txt").waitFor();
    assert.ok((await sends()).startsWith("typed "));
    await drop(page.locator("#tree-files"), [["bad\\name.txt", "x"]]);
    await page.getByRole("alert").getByText("Not uploaded").waitFor();
    forgive(422);
    assertQuiet(page);
  });

  test("a file chooser uploads without scripts", async () => {
    page = await openPage(browser, { javaScriptEnabled: false, viewport: { width: 390, height: 844 } });
    await page.goto(`${builder.origin}${code}/public/about.html`);
    await page.locator("summary", { hasText: "Upload" }).click();
    await page.locator("#upload-folder").fill("public/img");
    await page.locator("#upload-files").setInputFiles([{ name: "one.png", mimeType: "image/png", buffer: png }]);
    await shoot(page, "narrow code upload");
    await page.getByRole("button", { name: "Upload" }).click();
    await page.locator(".file-picture img").waitFor();
    await page.locator("summary", { hasText: "Upload" }).click();
    await page.locator("#upload-files").setInputFiles([{ name: "one.png", mimeType: "image/png", buffer: png }]);
    await page.getByRole("button", { name: "Upload" }).click();
    await page.locator("#upload-problem", { hasText: "exists already" }).waitFor();
    await shoot(page, "narrow code upload refused");
  });

  test("a file and a folder are renamed, and a name that is taken is said beside the field", async () => {
    await put("docs/a.txt", "a\n");
    await put("docs/b.txt", "b\n");
    await open(`${code}/docs/a.txt`);
    await page.locator(".file-bar summary[aria-label=More]").click();
    await page.getByRole("link", { name: "Rename or move" }).click();
    const field = page.locator("#rename-to");
    await eventually("the field has the focus", () => field.evaluate((input) => input === document.activeElement));
    await field.fill("docs/b.txt");
    await field.press("Enter");
    await page.locator("#rename-problem", { hasText: "“docs/b.txt” exists already." }).waitFor();
    await field.fill("docs/deep/c.txt");
    await field.press("Enter");
    await page.locator(".crumbs", { hasText: "docs/deep/c.txt" }).waitFor();
    assert.ok(page.url().endsWith("/code/docs/deep/c.txt"));
    await page.locator(".crumbs a", { hasText: "docs" }).click();
    await page.locator(".folder-list a", { hasText: "deep/c.txt" }).waitFor();
    await shoot(page, "code folder");
    await page.getByRole("link", { name: "Rename" }).click();
    await field.fill("papers");
    await page.getByRole("button", { name: "Rename" }).click();
    await page.locator(".crumbs", { hasText: "papers" }).waitFor();
    assert.equal(await read("papers/deep/c.txt"), "a\n");
    assert.equal((await titles())[0], "Rename docs to papers");
    forgive(409);
    assertQuiet(page);
  });

  test("what the last version changed in a file is shown in its place", async () => {
    await put("public/log.txt", "one\ntwo\n");
    await put("public/log.txt", "one\nthree\n");
    await open(`${code}/public/log.txt`);
    const toggle = page.locator("#changes-toggle");
    await toggle.click();
    await page.locator("tr.added", { hasText: "three" }).waitFor();
    await page.locator("tr.removed", { hasText: "two" }).waitFor();
    await assertAccessible(page, "the changes of a file");
    await shoot(page, "code changes");
    await toggle.click();
    await page.locator(".source", { hasText: "three" }).waitFor();
    assert.ok(await toggle.evaluate((link) => link === document.activeElement), "the toggle keeps the focus");
    assertQuiet(page);
  });

  test("a long list keeps its forms in sight, an empty filter says so, and a bad path stays beside it", async () => {
    for (let n = 0; n < 60; n++) await put(`many/file-${n}.txt`, `${n}\n`);
    await open(`${code}/many/file-59.txt`);
    await page.locator("#tree-files a", { hasText: "file-59.txt" }).scrollIntoViewIfNeeded();
    assert.ok(await page.locator(".tree-tools summary", { hasText: "New file" }).isVisible());
    await shoot(page, "code long list");
    await page.getByRole("searchbox", { name: "Filter files" }).fill("no-such-file");
    await page.getByText("No file matches.").waitFor();
    await assertAccessible(page, "an empty filter");
    await page.locator(".tree-tools summary", { hasText: "New file" }).click();
    const path = page.locator("#new-path");
    await eventually("the field has the focus", () => path.evaluate((input) => input === document.activeElement));
    assert.equal(await path.inputValue(), "many/");
    await page.goto(`${builder.origin}${code}/many/none.txt`);
    await page.getByRole("alert").getByText("none.txt").waitFor();
    await page.getByRole("link", { name: "Create it" }).click();
    await editor().waitFor();
    await page.keyboard.type("made");
    await page.keyboard.press("Control+s");
    await page.locator("#tree-files a", { hasText: /^none\.txt/ }).waitFor();
    await shoot(page, "code new file saved");
    assert.equal(await read("many/none.txt"), "made");
    assert.ok(page.url().endsWith("/code/many/none.txt?edit=1"));
    forgive(404);
    assertQuiet(page);
    await page.setViewportSize({ width: 390, height: 844 });
    await shoot(page, "narrow code edited");
    const [wide, inner] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(wide <= inner + 1, `${wide} pixels in ${inner}`);
  });
});
