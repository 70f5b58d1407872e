// One point: the tip beside the pointer, the cursor of the keyboard, and what is known of the chosen point.
const tip = document.getElementById("tip");
let cursor = null; // positions of panel, series and point
let chosen = null; // a place

function element(name, text = "", attributes = {}) {
  const node = Object.assign(document.createElement(name), attributes);
  if (text) node.textContent = text;
  return node;
}

function listTerms(pairs) {
  const list = element("dl");
  for (const [term, text] of pairs) list.append(element("dt", term), element("dd", text));
  return list;
}

const hasOwn = (name) => [...listFree()].includes(name);
const describePlace = (place, names = listFree()) => names.map((name) => describePosition(name, place[name])).join(", ") || "the point";

function countReplicas(place) {
  const counts = content.replicas;
  if (!counts) return "";
  const last = counts.statuses.length;
  const from = locate(findSteps(counts.dims.slice(0, -1), last), place);
  return counts.statuses.map((status, k) => [counts.values[from + k], status])
    .filter(([count]) => count)
    .map(([count, status]) => `${count} ${status}`)
    .join(", ");
}

// The numbers of a quantity at a place, whatever view is shown.
function listNumbers(place) {
  const views = getQuantity().views;
  const score = views.find((view) => view.is_score);
  const found = views.filter((view) => !view.is_score).flatMap((view) => [
    ...(view.points ? [[view.label, formatEstimate(look(view.points, place), look(view.error, place))]] : []),
    ...(view.line ? [[view === views[0] ? content.limit : `${view.label}, ${content.limit}`, formatNumber(look(view.line, place))]] : []),
  ]);
  if (score) found.push([score.label, formatNumber(look(score.points, place))]);
  const replicas = countReplicas(place);
  return replicas ? [["replicas", replicas], ...found] : found;
}

function listSpots(panel) {
  return panel.series.flatMap((series, s) => series.points.map((point, k) => ({ series: s, index: k, ...point }))).filter(({ spot }) => spot);
}

// The point nearest to a position on the screen, and its place in the lists; null if none is near.
function findNearest(event) {
  const svg = event.target.closest?.("svg");
  const panel = drawn.panels.findIndex((entry) => entry.svg === svg);
  if (panel < 0) return null;
  const area = svg.getBoundingClientRect();
  const shrink = drawn.width / area.width;
  const [x, y] = [(event.clientX - area.left) * shrink, (event.clientY - area.top) * shrink];
  drawn.panels[panel].spots ??= listSpots(drawn.panels[panel]);
  let [best, least] = [null, 45];
  for (const point of drawn.panels[panel].spots) {
    const distance = Math.hypot(point.spot.x - x, point.spot.y - y);
    if (distance < least) [best, least] = [point, distance];
  }
  return best && { panel, series: best.series, index: best.index };
}

const getPoint = (at) => drawn.panels[at.panel]?.series[at.series]?.points[at.index];

function moveCursor(at) {
  for (const panel of drawn.panels) panel.cursor.setAttribute("visibility", "hidden");
  cursor = at;
  const point = at && getPoint(at);
  tip.hidden = !point?.spot;
  if (!point?.spot) return;
  const ring = drawn.panels[at.panel].cursor;
  ring.setAttribute("cx", point.spot.x);
  ring.setAttribute("cy", point.spot.y);
  ring.setAttribute("visibility", "visible");
  tip.replaceChildren(element("b", describePlace(point.place)), listTerms(listNumbers(point.place)));
  const area = drawn.panels[at.panel].svg.getBoundingClientRect();
  const grow = area.width / drawn.width;
  const [x, y] = [area.left + point.spot.x * grow, area.top + point.spot.y * grow];
  const left = x + 16 + tip.offsetWidth > innerWidth ? x - 16 - tip.offsetWidth : x + 16;
  const above = y - 12 - tip.offsetHeight;
  tip.style.left = `${Math.max(8, Math.min(left, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${above < 4 ? Math.min(y + 14, innerHeight - tip.offsetHeight - 4) : above}px`;
}

function markChosen() {
  for (const panel of drawn.panels) panel.ring.setAttribute("visibility", "hidden");
  if (!chosen) return;
  const isChosen = (point) => point.spot && Object.keys(chosen).every((name) => !hasOwn(name) || chosen[name] === point.place[name]);
  for (const panel of drawn.panels) {
    const point = panel.series.flatMap(({ points }) => points).find(isChosen);
    if (!point) continue;
    panel.ring.setAttribute("cx", point.spot.x);
    panel.ring.setAttribute("cy", point.spot.y);
    panel.ring.setAttribute("visibility", "visible");
  }
}

function composeCommand(place) {
  const words = content.replicas.dims.slice(0, -1).map((name) => dims.get(name).arguments[place[name]]);
  return [content.command, ...words].join(" ");
}

// What `clhd why` says of a point.
function composeAnswer(place) {
  const axes = content.replicas.dims.slice(0, -1);
  const number = locate(findSteps(axes), place);
  const parameters = [...content.answers.constants, ...axes.map((name) => dims.get(name).labels[place[name]])];
  const lines = content.answers.tables.map(({ heading, texts, numbers }) => [heading, texts[numbers[number]]]);
  return [["parameters", parameters.join(", ")], ...lines].filter(([, text]) => text);
}

function makeCommand(text) {
  const row = element("div", "", { className: "command" });
  const code = element("code", text);
  const button = element("button", "Copy", { type: "button" });
  button.addEventListener("click", async () => {
    getSelection().selectAllChildren(code);
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Selected: press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  row.append(code, button);
  return row;
}

function choose(at) {
  const point = at && getPoint(at);
  if (!point) return;
  chosen = point.place;
  document.getElementById("point").hidden = false;
  const title = document.getElementById("point-title");
  title.textContent = describePlace(chosen);
  document.getElementById("numbers").replaceChildren(listTerms(listNumbers(chosen)));
  const answer = document.getElementById("answer");
  answer.replaceChildren();
  if (content.replicas) {
    answer.append(makeCommand(composeCommand(chosen)));
    if (content.answers.tables.length) answer.append(listTerms(composeAnswer(chosen)));
  }
  markChosen();
}

function speak(text) {
  document.getElementById("spoken").textContent = text;
}

// The next point along a direction that is drawn; the same point at an end.
function step(at, key) {
  const [panel, series] = [drawn.panels[at.panel], drawn.panels[at.panel].series[at.series]];
  const moves = {
    ArrowRight: ["index", 1, series.points.length],
    ArrowLeft: ["index", -1, series.points.length],
    ArrowDown: ["series", 1, panel.series.length],
    ArrowUp: ["series", -1, panel.series.length],
    PageDown: ["panel", 1, drawn.panels.length],
    PageUp: ["panel", -1, drawn.panels.length],
    Home: ["index", -Infinity, series.points.length],
    End: ["index", Infinity, series.points.length],
  };
  const [name, by, count] = moves[key];
  const next = { ...at };
  do {
    const to = Math.max(0, Math.min(count - 1, next[name] + by));
    if (to === next[name]) return at;
    next[name] = to;
  } while (!getPoint(next).spot && Number.isFinite(by));
  return next;
}

figure.addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") moveCursor(findNearest(event)); });
figure.addEventListener("pointerleave", () => moveCursor(null));
figure.addEventListener("blur", () => moveCursor(null));
figure.addEventListener("click", (event) => {
  const at = findNearest(event);
  moveCursor(event.pointerType === "touch" ? null : at); // a finger hides the tip, and the numbers stand below
  choose(at);
});
figure.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    moveCursor(null);
    return;
  }
  if (!["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", "PageDown", "PageUp", "Home", "End", "Enter", " "].includes(event.key)) return;
  event.preventDefault();
  const begin = () => {
    const panel = drawn.panels.findIndex((entry) => listSpots(entry).length);
    if (panel < 0) return null;
    const { series, index } = listSpots(drawn.panels[panel])[0];
    return { panel, series, index };
  };
  if (event.key === "Enter" || event.key === " ") {
    choose(cursor);
    if (cursor) document.getElementById("point-title").focus();
    return;
  }
  moveCursor(cursor && getPoint(cursor) ? step(cursor, event.key) : begin());
  if (!cursor) return;
  const point = getPoint(cursor);
  speak([describePlace(point.place), ...listNumbers(point.place).map((pair) => pair.join(" "))].join("; "));
});
addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
