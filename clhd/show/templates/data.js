// The content of the page, and what is shown of it. A place is a position along each dim, by the name of the dim.
const content = JSON.parse(document.getElementById("data").textContent);
const dims = new Map(content.dims.map((dim) => [dim.name, dim]));
const MOST = { panel: 24, colour: 48, x: Infinity }; // values that a role shows

// Return where the numbers of an array along some dims stand, as steps.
function findSteps(names, last = 1) {
  let step = last;
  return [...names].reverse().map((name) => {
    const entry = [name, step];
    step *= dims.get(name).texts.length;
    return entry;
  });
}

function locate(steps, place) {
  return steps.reduce((sum, [name, step]) => sum + step * place[name], 0);
}

function look(array, place) {
  if (!array) return null;
  array.steps ??= findSteps(array.dims);
  return array.values[locate(array.steps, place)] ?? null;
}

// The positions that a role shows: all along its dim, or evenly spread ones of very many; one if it has no dim.
function listPositions(role, most = MOST[role]) {
  const count = state[role] ? dims.get(state[role]).texts.length : 1;
  if (count <= most) return Array.from({ length: count }, (_, k) => k);
  return Array.from({ length: most }, (_, k) => Math.round((k * (count - 1)) / (most - 1)));
}

const state = {
  quantity: Math.max(0, content.quantities.findIndex((entry) => entry.name === content.start.quantity)),
  view: 0,
  x: content.start.x,
  colour: content.start.colour,
  panel: content.start.panel,
  logarithmic: false,
  at: Object.fromEntries(
    content.dims.map(({ name, texts }) => [name, content.start.last.includes(name) ? texts.length - 1 : texts.length >> 1]),
  ),
};
const getQuantity = () => content.quantities[state.quantity];
const getView = () => getQuantity().views[state.view];

// The dims of the shown view that have more than one value, in the order of the page.
function listFree() {
  const view = getView();
  const own = new Set([view.points, view.error, view.line].flatMap((array) => array?.dims ?? []));
  return content.dims.filter(({ name, texts }) => own.has(name) && texts.length > 1).map(({ name }) => name);
}

// A role whose dim the shown view lacks gets none, and x the first that is free.
function settleRoles() {
  const free = listFree();
  for (const role of ["x", "colour", "panel"]) if (!free.includes(state[role])) state[role] = "";
  if (!state.x) state.x = free.find((name) => name !== state.colour && name !== state.panel) ?? "";
}

// Panels, their series and their points, with the numbers of the shown view.
function gatherPanels() {
  const view = getView();
  const put = (place, role, position) => (state[role] ? { ...place, [state[role]]: position } : place);
  return listPositions("panel").map((panel) => ({
    position: panel,
    series: listPositions("colour").map((colour) => ({
      position: colour,
      points: listPositions("x").map((position) => {
        const place = put(put(put(state.at, "panel", panel), "colour", colour), "x", position);
        const [value, error, line] = [view.points, view.error, view.line].map((array) => look(array, place));
        return { place, position, value, error, line };
      }),
    })),
  }));
}

const nameDim = (name) => {
  const { label, units } = dims.get(name);
  return units ? `${label} (${units})` : label;
};

// A position along a dim in words; the label of several parameters that vary together says all.
function describePosition(name, position) {
  const dim = dims.get(name);
  return dim.labels[position]?.includes(", ") ? dim.texts[position] : `${dim.label} = ${dim.texts[position]}`;
}
