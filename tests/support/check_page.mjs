// Opens a report in headless Chromium at two widths, light and dark: no request leaves the file, no
// script error, no page wider than the window, no serious fault by axe-core. See `make check-page`.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [page, modules, chromium] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${modules}/x.js`));
const puppeteer = require("puppeteer-core");
const axe = require("axe-core").source;
const browser = await puppeteer.launch({ executablePath: chromium, args: ["--no-sandbox"] });
const faults = [];
for (const width of [1280, 400]) {
  for (const scheme of ["light", "dark"]) {
    const tab = await browser.newPage();
    const where = `${width} px, ${scheme}`;
    tab.on("pageerror", (error) => faults.push(`${where}: ${error.message}`));
    tab.on("request", (request) => {
      if (!/^(data|file):/.test(request.url())) faults.push(`${where}: asks ${request.url()}`);
    });
    await tab.setViewport({ width, height: 900 });
    await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await tab.setBypassCSP(true); // for axe alone; the page has no script
    await tab.goto(pathToFileURL(page).href, { waitUntil: "load" });
    const wide = await tab.evaluate(() => document.documentElement.scrollWidth);
    if (wide > width) faults.push(`${where}: ${wide} px wide`);
    await tab.screenshot({ path: `${page}.${width}.${scheme}.png`, fullPage: true });
    await tab.evaluate(axe);
    const found = await tab.evaluate(() => window.axe.run());
    for (const one of found.violations) {
      const line = `${where}: ${one.id} (${one.impact}): ${one.nodes.length} × ${one.help}: ` + one.nodes[0].html.slice(0, 120);
      if (["serious", "critical"].includes(one.impact)) faults.push(line);
      else console.log(line);
    }
    if (width === 1280 && scheme === "light") await tab.pdf({ path: `${page}.pdf`, format: "A4" });
    await tab.close();
  }
}
await browser.close();
console.log(faults.join("\n") || "no fault");
process.exit(faults.length ? 1 : 0);
