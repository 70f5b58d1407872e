// The figure: panels of points and lines, one SVG each.
const MARGIN = { left: 62, right: 14, top: 12, bottom: 46, title: 20 };
const SEQUENCES = {
  light: ["#440154", "#414487", "#2a788e", "#22a884", "#7ac143"],
  dark: ["#9a8cf0", "#5aa9e6", "#33c6ab", "#94da68", "#f6e35a"],
};
const CATEGORIES = {
  light: ["#0072b2", "#d55e00", "#008c66", "#b8578f", "#1f8fc4", "#a87000"],
  dark: ["#4db1f0", "#ff8f47", "#2fd0a0", "#eaa0c8", "#9ad7fa", "#f2bd4a"],
};
const darkness = matchMedia("(prefers-color-scheme: dark)");
const figure = document.getElementById("figure");
let drawn = { panels: [] };

function make(name, attributes = {}, text = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text) node.textContent = text;
  return node;
}

function mix(colours, share) {
  const at = share * (colours.length - 1);
  const k = Math.min(Math.floor(at), colours.length - 2);
  const part = (colour, c) => parseInt(colour.slice(1 + 2 * c, 3 + 2 * c), 16);
  const mixed = [0, 1, 2].map((c) => Math.round(part(colours[k], c) + (at - k) * (part(colours[k + 1], c) - part(colours[k], c))));
  return `rgb(${mixed.join(" ")})`;
}

// The colour and the marker of a series: an order of numbers is an order of colours.
function pickLook(number, count) {
  const mode = darkness.matches ? "dark" : "light";
  const shape = count <= 8 ? number % 4 : 0;
  if (!state.colour || dims.get(state.colour).is_words) return { colour: CATEGORIES[mode][number % 6], shape };
  return { colour: mix(SEQUENCES[mode], count > 1 ? number / (count - 1) : 0), shape };
}

function traceMarker(x, y, r, shape) {
  if (shape === 1) return `M${x - r * 0.9},${y - r * 0.9}h${1.8 * r}v${1.8 * r}h${-1.8 * r}z`;
  if (shape === 2) return `M${x},${y - 1.25 * r}l${1.2 * r},${2.1 * r}h${-2.4 * r}z`;
  if (shape === 3) return `M${x},${y - 1.3 * r}l${1.3 * r},${1.3 * r}l${-1.3 * r},${1.3 * r}l${-1.3 * r},${-1.3 * r}z`;
  return `M${x - r},${y}a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0`;
}

const round = (value) => Math.round(value * 10) / 10;

// The line of the theory: joined along numbers, a dash at each word.
function traceLine(points, scales, isJoined) {
  let path = "";
  let isOpen = false;
  for (const point of points) {
    if (!scales.y.holds(point.line)) {
      isOpen = false;
      continue;
    }
    const [x, y] = [round(scales.atX(point)), round(scales.y.place(point.line))];
    path += isJoined ? `${isOpen ? "L" : "M"}${x},${y}` : `M${x - 9},${y}h18`;
    if (isJoined && !isOpen) path += "h0"; // a single point shows as a dot
    isOpen = true;
  }
  return path;
}

function traceBars(points, scales) {
  let path = "";
  for (const point of points) {
    if (!point.error || !scales.y.holds(point.value)) continue;
    const x = round(scales.atX(point));
    const ends = [point.value - 2 * point.error, point.value + 2 * point.error];
    const [low, high] = ends.map((end) => round(scales.y.place(scales.y.holds(end) ? end : point.value)));
    path += `M${x},${low}V${high}M${x - 3},${low}h6M${x - 3},${high}h6`;
  }
  return path;
}

// The ticks along x: the values of the axis itself where they have room.
function listTicks(scales, width) {
  const dim = dims.get(state.x);
  if (!dim) return [];
  const longest = dim.texts.reduce((most, text) => Math.max(most, text.length), 0);
  const own = dim.places.map((place, k) => ({ x: scales.x.place(place), text: dim.texts[k] }));
  const gap = own.slice(1).reduce((least, tick, k) => Math.min(least, tick.x - own[k].x), Infinity);
  const need = Math.min(7 * longest, 160) + 10;
  if (dim.is_words) {
    const every = Math.max(1, Math.ceil(need / gap));
    const edge = MARGIN.left + width + MARGIN.right - own.at(-1).x; // a label stands around its tick
    const most = Math.max(4, Math.floor((Math.min(gap * every, 2 * edge) - 10) / 6.5));
    return own.filter((_, k) => k % every === 0)
      .map(({ x, text }) => ({ x, text: text.length > most ? `${text.slice(0, most - 1)}\u2026` : text }));
  }
  if (gap >= need) return own;
  return scales.x.tick(Math.floor(width / 70)).map((value) => ({ x: scales.x.place(value), text: formatNumber(value) }));
}

function drawFrame(svg, scales, box, title) {
  if (getView().is_score && !state.logarithmic) {
    const [y, bottom] = [2, -2].map((score) => scales.y.place(score));
    svg.append(make("rect", { class: "band", x: box.left, width: box.right - box.left, y, height: bottom - y }));
  }
  for (const value of scales.y.tick(Math.max(3, Math.floor((box.bottom - box.top) / 48)))) {
    const y = round(scales.y.place(value));
    svg.append(make("path", { class: "rule", d: `M${box.left},${y}H${box.right}` }));
    svg.append(make("text", { x: box.left - 8, y: y + 4, "text-anchor": "end" }, formatNumber(value)));
  }
  for (const { x, text } of listTicks(scales, box.right - box.left)) {
    svg.append(make("path", { class: "frame", d: `M${round(x)},${box.bottom}v5` }));
    svg.append(make("text", { x: round(x), y: box.bottom + 19, "text-anchor": "middle" }, text));
  }
  svg.append(make("path", { class: "frame", d: `M${box.left},${box.top}V${box.bottom}H${box.right}` }));
  const middle = (box.left + box.right) / 2;
  if (state.x) svg.append(make("text", { x: middle, y: box.bottom + 38, "text-anchor": "middle" }, nameDim(state.x)));
  if (title) svg.append(make("text", { class: "title", x: box.left, y: 14 }, title));
}

function drawSeries(svg, series, scales, look, radius, box) {
  const isJoined = Boolean(state.x) && !dims.get(state.x).is_words;
  const line = traceLine(series.points, scales, isJoined);
  if (line) svg.append(make("path", { class: "theory", stroke: look.colour, d: line }));
  const bars = traceBars(series.points, scales);
  if (bars) svg.append(make("path", { class: "bars", stroke: look.colour, d: bars }));
  let [markers, crosses] = ["", ""];
  for (const point of series.points) {
    const x = round(scales.atX(point));
    const isThere = scales.y.holds(point.value);
    const isMissing = Boolean(getView().points) && point.value === null;
    const y = isThere ? round(scales.y.place(point.value)) : isMissing ? box.bottom - 6 : scales.y.holds(point.line) ? round(scales.y.place(point.line)) : null;
    if (isThere) markers += traceMarker(x, y, radius, look.shape);
    else if (isMissing) crosses += `M${x - 3},${y - 3}l6,6m0,-6l-6,6`;
    point.spot = y === null ? null : { x, y };
  }
  if (markers) svg.append(make("path", { class: "markers", fill: look.colour, d: markers }));
  if (crosses) svg.append(make("path", { class: "missing", d: crosses }));
}

function findScales(panels, box) {
  const view = getView();
  const dim = dims.get(state.x);
  const ends = dim ? [...dim.places] : [0];
  const x = makeScale(findRange(ends, dim?.is_logarithmic, dim?.is_words ? 0.12 : 0.03), [box.left, box.right], dim?.is_logarithmic);
  const numbers = panels.flatMap((panel) => panel.series.flatMap((series) => series.points.flatMap(
    ({ value, error, line }) => [value, line, ...(error ? [value - 2 * error, value + 2 * error] : [])],
  )));
  if (view.is_score) numbers.push(-3, 3);
  const y = makeScale(findRange(numbers, state.logarithmic, 0.06), [box.bottom, box.top], state.logarithmic);
  return { x, y, atX: (point) => x.place(dim ? dim.places[point.position] : 0) };
}

// Draw all that is shown, and remember where its points are.
function drawFigure() {
  const panels = gatherPanels();
  const whole = Math.max(280, figure.clientWidth);
  const columns = Math.max(1, Math.min(panels.length, Math.floor(whole / 300), 4));
  const width = Math.floor((whole - 16 * (columns - 1)) / columns);
  const height = Math.round(panels.length === 1 ? Math.min(520, Math.max(300, 0.58 * width)) : Math.max(220, 0.66 * width));
  const top = MARGIN.top + (state.panel ? MARGIN.title : 0);
  const box = { left: MARGIN.left, right: width - MARGIN.right, top, bottom: height - MARGIN.bottom };
  const scales = findScales(panels, box);
  const points = panels.reduce((sum, panel) => sum + panel.series.reduce((own, series) => own + series.points.length, 0), 0);
  const frame = document.createElement("div");
  frame.className = "panels";
  frame.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
  for (const panel of panels) {
    const title = state.panel ? describePosition(state.panel, panel.position) : "";
    panel.svg = make("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true", focusable: "false" });
    drawFrame(panel.svg, scales, box, title);
    panel.series.forEach((series, number) => {
      series.look = pickLook(number, panel.series.length);
      drawSeries(panel.svg, series, scales, series.look, points > 3000 ? 1.8 : 3.6, box);
    });
    panel.ring = panel.svg.appendChild(make("circle", { class: "chosen", r: 8, visibility: "hidden" }));
    panel.cursor = panel.svg.appendChild(make("circle", { class: "cursor", r: 7, visibility: "hidden" }));
    frame.append(panel.svg);
  }
  figure.replaceChildren(frame);
  drawn = { panels, width, points };
  drawLegend(panels[0].series);
  markChosen();
}

function drawLegend(series) {
  const legend = document.getElementById("legend");
  const view = getView();
  const parts = [];
  if (view.points) parts.push(view.error ? "points: simulation, with two standard errors" : "points: simulation");
  if (view.line) parts.push(`lines: ${content.limit}`);
  if (drawn.panels.some((panel) => panel.svg.querySelector(".missing"))) parts.push("crosses: no run is ok");
  for (const role of ["panel", "colour"]) {
    const count = state[role] ? dims.get(state[role]).texts.length : 1;
    if (count > MOST[role]) parts.push(`${MOST[role]} of ${count} values of ${nameDim(state[role])} are drawn`);
  }
  const means = document.createElement("span");
  means.className = "means";
  means.textContent = parts.join("; ");
  const entries = !state.colour ? [] : listEvenly(series, 12).map(({ position, look }) => {
    const entry = document.createElement("span");
    entry.className = "entry";
    const sample = make("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" });
    if (view.line) sample.append(make("path", { class: "theory", stroke: look.colour, d: "M0,8h16" }));
    if (view.points) sample.append(make("path", { fill: look.colour, d: traceMarker(8, 8, 4, look.shape) }));
    entry.append(sample, dims.get(state.colour).texts[position]);
    return entry;
  });
  if (entries.length) {
    const head = document.createElement("span");
    head.textContent = `${nameDim(state.colour)}:`;
    entries.unshift(head);
  }
  legend.replaceChildren(means, ...entries);
}

function listEvenly(list, most) {
  if (list.length <= most) return list;
  return Array.from({ length: most }, (_, k) => list[Math.round((k * (list.length - 1)) / (most - 1))]);
}
