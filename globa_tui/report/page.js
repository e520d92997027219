"use strict";
// Draws the report from the data in the page. Everything that a file said is put in as text, never as markup.
const R = JSON.parse(document.getElementById("content").textContent);
const SVG = "http://www.w3.org/2000/svg";
const TYPES = Object.keys(R.types);
const MOST_ROWS = 500;
const byIndex = new Map(R.layers.map((layer) => [layer.index, layer]));

function el(name, options = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (key === "text") node.textContent = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function svg(name, attributes = {}, text = null) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  return node;
}

function section(title, ...children) {
  const node = el("section", {}, el("h2", { text: title }), ...children);
  document.getElementById("report").append(node);
  return node;
}

// The largest value over the fine-tunes, as in the terminal's tables.
function valueOf(layer, place) {
  if (!layer.values) return null;
  const known = layer.values[place].filter((value) => value !== null);
  return known.length ? Math.max(...known) : null;
}

function number(value, metric) {
  if (value === null || value === undefined) return "-";
  const scaled = value * metric.factor;
  if (metric.unit === "%") return scaled > 0 && scaled < 0.05 ? "<0.1" : scaled.toFixed(scaled >= 99.95 ? 0 : 1);
  if (Number.isInteger(scaled)) return String(scaled);
  return Math.abs(scaled) >= 100 ? scaled.toFixed(0) : String(Number(scaled.toPrecision(3)));
}

function head() {
  const facts = el("dl", { class: "facts" });
  const add = (name, text) => facts.append(el("dt", { text: name }), el("dd", { text }));
  add("Base", R.base);
  R.fine_tuned.forEach((name, place) => add(`Fine-tune ${place + 1}`, name));
  const { done, failed, pending } = R.counts;
  add("Layers", `${done} analysed` + (failed ? `, ${failed} failed` : "") + (pending ? `, ${pending} not yet` : ""));
  const shown = ["basis", "svd_energy", "eta", "anchor", "precision", "exclude", "include"];
  const settings = shown.filter((key) => R.settings[key]).map((key) => `${key} ${R.settings[key]}`);
  if (settings.length) add("Settings", settings.join("; "));
  add("Made", `${R.created}, globa-tui ${R.version}`);
  document.getElementById("report").append(el("h1", { text: R.title }), facts);
}

function findings() {
  if (!R.findings.length) {
    section("Findings", el("p", { class: "empty", text: "Nothing stands out." }));
    return;
  }
  const list = el("ol", { class: "findings" });
  for (const found of R.findings) {
    const sure = el("span", { class: "sure", title: R.sure[found.sure] || "", text: found.sure });
    list.append(el("li", {}, `${found.text}. `, sure));
  }
  const words = [...new Set(R.findings.map((found) => found.sure))].map((name) => `${name}: ${R.sure[name]}`);
  section("Findings", list, el("p", { class: "soft", text: words.join(". ") + "." }));
}

function overlap() {
  const whole = TYPES.reduce((sum, name) => sum + R.totals[name], 0);
  if (!whole) return;
  const bar = el("div", { class: "bar", role: "img", "aria-label": "Share of each overlap type" });
  const legend = el("ul", { class: "legend" });
  TYPES.forEach((name, place) => {
    const share = R.totals[name] / whole;
    const part = el("span", { class: `k${place + 1}`, title: `${name} ${(100 * share).toFixed(1)} %` });
    part.style.flexGrow = String(share);
    bar.append(part);
    legend.append(el("li", { class: `k${place + 1}`, text: `${name} ${(100 * share).toFixed(1)} % ${R.types[name]}` }));
  });
  section("Overlap", el("p", { class: "soft", text: "Retained energy of the other fine-tunes by overlap type, all layers." }),
    bar, legend);
}

function map() {
  const { blocks, rows } = R.map;
  if (!rows.length) return;
  const size = 20, left = 110, top = 18;
  const columns = Math.max(...rows.map((row) => row.cells.length));
  const picture = svg("svg", { width: left + columns * size + 4, height: top + rows.length * size + 4, role: "group" });
  const choose = el("select", { "aria-label": "Number on the map" });
  R.metrics.forEach((metric, place) => choose.append(el("option", { value: place, text: metric.title })));
  const start = R.metrics.findIndex((metric) => metric.key === "overlap");
  choose.value = String(Math.max(start, 0));
  const scale = el("span", { class: "soft" });
  const draw = () => {
    const place = Number(choose.value), metric = R.metrics[place];
    const mean = (cell) => {
      const known = cell.map((index) => valueOf(byIndex.get(index), place)).filter((value) => value !== null);
      return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
    };
    const all = rows.flatMap((row) => row.cells.map(mean)).filter((value) => value !== null);
    const low = Math.min(...all), high = Math.max(...all, low + 1e-12);
    picture.replaceChildren();
    blocks.forEach((block, column) => {
      if (column % 5 === 0 || columns <= 12) {
        picture.append(svg("text", { x: left + (column + 0.5) * size, y: top - 6, "text-anchor": "middle" }, block));
      }
    });
    rows.forEach((row, line) => {
      const label = svg("text", { x: left - 8, y: top + (line + 0.7) * size, "text-anchor": "end" }, row.label);
      picture.append(label);
      row.cells.forEach((cell, column) => {
        if (!cell.length) return;
        const value = mean(cell), layer = byIndex.get(cell[0]);
        const rect = svg("rect", {
          x: left + column * size, y: top + line * size, width: size - 2, height: size - 2, rx: 2, tabindex: 0,
          class: value === null ? "cell none" : "cell", "data-index": cell[0], role: "button",
          "fill-opacity": value === null ? 0 : (0.06 + (0.94 * (value - low)) / (high - low)).toFixed(3),
        });
        const more = cell.length > 1 ? ` and ${cell.length - 1} more` : "";
        rect.append(svg("title", {}, `${layer.name}${more}: ${number(value, metric)}${metric.unit}`));
        rect.addEventListener("click", () => detail(cell[0], true));
        rect.addEventListener("keydown", (event) => {
          if (event.key === "Enter" || event.key === " ") { event.preventDefault(); detail(cell[0], true); }
        });
        picture.append(rect);
      });
    });
    scale.textContent = all.length
      ? `${metric.meaning}; pale ${number(low, metric)}${metric.unit}, full ${number(high, metric)}${metric.unit}`
      : metric.meaning;
  };
  choose.addEventListener("change", draw);
  draw();
  section("Map", el("div", { class: "tools" }, choose, scale), el("div", { class: "scroll" }, picture),
    el("p", { class: "soft", text: "Blocks across, modules down. Choose a cell to see its layer." }));
}

function layerTable() {
  const known = (place) => R.layers.some((layer) => layer.values && valueOf(layer, place) !== null);
  const columns = R.metrics.map((metric, place) => ({ metric, place }))
    .filter(({ metric, place }) => metric.table && known(place));
  const keys = [
    { heading: "layer", read: (layer) => layer.name },
    { heading: "shape", read: (layer) => layer.shape.reduce((size, side) => size * side, 1), show: (l) => l.shape.join("x") },
    ...columns.map(({ metric, place }) => ({
      heading: metric.heading, title: `${metric.title}: ${metric.meaning}`,
      read: (layer) => valueOf(layer, place), show: (layer) => number(valueOf(layer, place), metric),
    })),
    { heading: "status", read: (layer) => layer.status },
  ];
  let sorted = null, down = false, all = false;
  const body = el("tbody"), row = el("tr"), filter = el("input", { type: "search", placeholder: "filter by name" });
  filter.setAttribute("aria-label", "Filter layers by name");
  const more = el("button", { type: "button", onclick: () => { all = true; fill(); } });
  const fill = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = R.layers.filter((layer) => words.every((word) => layer.name.toLowerCase().includes(word)));
    if (sorted) {
      const sign = down ? -1 : 1;
      shown.sort((one, two) => {
        const a = sorted.read(one), b = sorted.read(two);
        if (a === null || b === null) return (a === null) - (b === null);
        return sign * (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
      });
    }
    body.replaceChildren(...shown.slice(0, all ? shown.length : MOST_ROWS).map((layer) => {
      const cells = keys.map((key) => el("td", { text: key.show ? key.show(layer) : key.read(layer) }));
      if (layer.status === "failed") cells.at(-1).setAttribute("class", "failed");
      if (layer.error) cells.at(-1).setAttribute("title", layer.error);
      return el("tr", { class: "link", "data-index": layer.index, onclick: () => detail(layer.index, true) }, ...cells);
    }));
    more.hidden = all || shown.length <= MOST_ROWS;
    more.textContent = `show all ${shown.length}`;
  };
  for (const key of keys) {
    const head = el("th", { scope: "col", title: key.title || "", "data-heading": key.heading });
    head.append(el("button", { type: "button", text: key.heading, onclick: () => {
      down = sorted === key ? !down : key.heading !== "layer";
      sorted = key;
      for (const other of row.children) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      fill();
    } }));
    row.append(head);
  }
  filter.addEventListener("input", fill);
  fill();
  section("Layers", el("div", { class: "tools" }, filter, more),
    el("div", { class: "scroll tall" }, el("table", { id: "layers" }, el("thead", {}, row), body)));
}

function chart(caption, draw, legend = []) {
  const columns = legend.some((text) => text.length > 13) ? 2 : 3, rows = Math.ceil(legend.length / columns);
  const width = 340, height = 178 + 14 * rows;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": caption });
  picture.append(svg("line", { class: "axis", x1: 40, y1: 160, x2: 330, y2: 160 }));
  picture.append(svg("line", { class: "axis", x1: 40, y1: 10, x2: 40, y2: 160 }));
  draw(picture, (share) => 40 + 290 * share, (share) => 160 - 150 * share);
  legend.forEach((text, place) => {
    const x = 44 + (place % columns) * (290 / columns), y = 188 + Math.floor(place / columns) * 14;
    picture.append(svg("line", { class: `line s${place % 6}`, x1: x, y1: y - 4, x2: x + 16, y2: y - 4 }));
    picture.append(svg("text", { x: x + 20, y, class: "strong" }, text));
  });
  return el("figure", {}, el("figcaption", { text: caption }), picture);
}

function path(points, place) {
  const line = points.map(([x, y], step) => `${step ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
  return svg("path", { class: `line s${place % 6}`, d: line });
}

const tuned = (place) => `fine-tune ${place + 1}`;

function spectrumChart(spectra) {
  const positive = spectra.flatMap((one) => one.value).filter((value) => value > 0);
  if (!positive.length) return null;
  const high = Math.log10(Math.max(...positive)), low = Math.max(Math.log10(Math.min(...positive)), high - 8);
  const last = Math.max(...spectra.flatMap((one) => one.at), 2);
  return chart("Singular values of the task vectors, both axes logarithmic", (picture, x, y) => {
    spectra.forEach((one, place) => {
      const points = one.at.map((at, step) => [at, one.value[step]]).filter(([, value]) => value > 0);
      const across = (at) => x(Math.log(at) / Math.log(last));
      const up = (value) => y(Math.max((Math.log10(value) - low) / (high - low || 1), 0));
      picture.append(path(points.map(([at, value]) => [across(at), up(value)]), place));
    });
    for (const [share, value] of [[0, low], [1, high]]) {
      picture.append(svg("text", { x: 36, y: y(share) + 4, "text-anchor": "end" }, (10 ** value).toPrecision(2)));
    }
    picture.append(svg("text", { x: 330, y: 172, "text-anchor": "end" }, `rank ${last}`));
  }, spectra.map((_, place) => tuned(place)));
}

function linesChart(caption, lines, high, across) {
  return chart(caption, (picture, x, y) => {
    lines.forEach(([, values], place) => {
      const points = values.map((value, step) => [x(values.length > 1 ? step / (values.length - 1) : 0), y((value ?? 0) / high)]);
      picture.append(path(points, place));
    });
    picture.append(svg("text", { x: 36, y: y(0) + 4, "text-anchor": "end" }, "0"));
    picture.append(svg("text", { x: 36, y: y(1) + 4, "text-anchor": "end" }, String(Number(high.toPrecision(2)))));
    picture.append(svg("text", { x: 330, y: 172, "text-anchor": "end" }, across));
  }, lines.map(([name]) => name));
}

function anglesChart(angles) {
  const high = Math.max(...angles.flatMap(([, counts]) => counts), 1);
  return chart("Principal angles between the fine-tunes, counts per ten degrees", (picture, x, y) => {
    angles.forEach(([, counts], place) => counts.forEach((count, bin) => {
      const width = 26 / angles.length;
      const at = x(bin / 9) + 3 + place * width;
      picture.append(svg("rect", { class: `s${place % 6}`, x: at, y: y(count / high), width, height: 160 - y(count / high) }));
    }));
    picture.append(svg("text", { x: 36, y: y(1) + 4, "text-anchor": "end" }, high));
    picture.append(svg("text", { x: 330, y: 172, "text-anchor": "end" }, "90 degrees"));
  }, angles.map(([name]) => name));
}

function typeMap(name, rows) {
  const canvas = el("canvas", { role: "img", "aria-label": "type map" });
  canvas.width = rows.length ? rows[0].length : 1;
  canvas.height = rows.length || 1;
  const style = getComputedStyle(document.documentElement), pen = canvas.getContext("2d");
  rows.forEach((row, y) => [...row].forEach((code, x) => {
    if (code === "0") return;
    pen.fillStyle = style.getPropertyValue(`--t${code}`);
    pen.fillRect(x, y, 1, 1);
  }));
  const legend = el("ul", { class: "legend" });
  [...TYPES, "only C1"].forEach((type, place) => legend.append(el("li", { class: `k${place + 1}`, text: type })));
  const caption = `Strongest overlap type per tile${name ? `, ${name}` : ""}: outputs down, inputs across`;
  return el("figure", {}, el("figcaption", { text: caption }), canvas, legend);
}

function detail(index, move) {
  const layer = byIndex.get(index), box = document.getElementById("layer");
  document.querySelectorAll(".chosen").forEach((node) => node.classList.remove("chosen"));
  document.querySelectorAll(`[data-index="${index}"]`).forEach((node) => node.classList.add("chosen"));
  box.replaceChildren(el("h3", { text: layer.name }), el("p", { class: "soft", text: `${layer.shape.join(" x ")}, ${layer.kind}` }));
  if (layer.error) box.append(el("p", { class: "failed", text: layer.error }));
  const drawn = R.pictures[index];
  if (drawn) {
    const charts = [spectrumChart(drawn.spectra)];
    if (drawn.angles.length) charts.push(anglesChart(drawn.angles));
    if (drawn.alignment.length) {
      charts.push(linesChart("|cosine| of the r-th singular vectors with those of the anchor", drawn.alignment, 1, "rank"));
    }
    drawn.types.forEach(([name, rows]) => charts.push(typeMap(name, rows)));
    box.append(el("div", { class: "charts" }, ...charts.filter(Boolean)));
  }
  if (layer.values) {
    const body = el("tbody");
    R.metrics.forEach((metric, place) => {
      const texts = layer.values[place].map((value) => number(value, metric)).join("  ");
      body.append(el("tr", {}, el("td", { text: metric.title }), el("td", { text: `${texts} ${metric.unit}` }),
        el("td", { class: "left soft", text: metric.meaning })));
    });
    box.append(el("div", { class: "scroll" }, el("table", {}, body)));
  }
  if (move) box.scrollIntoView({ block: "start" });
}

function squareTable(names, values, show, caption) {
  const size = 46, left = 120, top = 24, all = values.flat().filter((value) => value !== null);
  const high = Math.max(...all, 1e-12);
  const picture = svg("svg", { width: left + names.length * size + 4, height: top + names.length * size + 4, role: "img" });
  names.forEach((name, row) => {
    picture.append(svg("text", { x: left - 8, y: top + (row + 0.6) * size, "text-anchor": "end", class: "strong" }, name.slice(0, 16)));
    picture.append(svg("text", { x: left + (row + 0.5) * size, y: top - 8, "text-anchor": "middle" }, row + 1));
    names.forEach((_, column) => {
      const value = values[row][column];
      picture.append(svg("rect", { class: "square", x: left + column * size, y: top + row * size, width: size - 2, height: size - 2,
        rx: 3, "fill-opacity": (0.04 + (0.5 * value) / high).toFixed(3) }));
      picture.append(svg("text", { x: left + (column + 0.48) * size, y: top + (row + 0.58) * size, "text-anchor": "middle",
        class: "strong" }, row === column ? "" : show(value)));
    });
  });
  return el("figure", {}, el("figcaption", { text: caption }), picture);
}

function representation() {
  const found = R.representation;
  if (!found) return;
  const charts = [squareTable(found.names, found.relative, (value) => `${(100 * value).toFixed(0)} %`,
    "Distance of hidden states, relative to their norm")];
  if (found.hidden_sim) charts.push(squareTable(found.names, found.hidden_sim, (value) => value.toFixed(2), "HiddenSim"));
  if (found.layers.length > 1) {
    const lines = [];
    found.names.forEach((_, i) => found.names.forEach((__, j) => {
      if (i < j && lines.length < 6) lines.push([`${i + 1} - ${j + 1}`, found.by_layer.map((square) => square[i][j])]);
    }));
    const high = Math.max(...lines.flatMap(([, values]) => values), 1e-12);
    charts.push(linesChart("Relative distance after every layer", lines, high, `layer ${found.layers.at(-1)}`));
  }
  section("Hidden states", el("div", { class: "charts" }, ...charts), ...found.sentences.map((text) => el("p", { class: "soft", text })));
}

head();
findings();
overlap();
map();
layerTable();
section("One layer", el("div", { id: "layer" }, el("p", { class: "empty", text: "No layer is analysed." })));
const first = R.layers.filter((layer) => layer.values).sort((one, two) => valueOf(two, 0) - valueOf(one, 0))[0];
if (first) detail(first.index, false);
representation();
if (R.recipe !== null) section("Recipe", el("pre", { text: R.recipe }));
