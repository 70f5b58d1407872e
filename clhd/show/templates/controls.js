// The controls: what is on x, by colour and in panels, and the values at which all other dims are held.
const form = document.getElementById("controls");
const ROLES = [["x", "along x"], ["colour", "by colour"], ["panel", "in panels"]];

function addField(node, name, label, isWide = false) {
  const field = element("div", "", { className: isWide ? "slider" : "" });
  node.id = `control-${name}`;
  field.append(element("label", label, { htmlFor: node.id }), node);
  form.append(field);
  return field;
}

function addSelect(name, label, options, value, change) {
  const select = element("select");
  for (const [key, text] of options) select.append(element("option", text, { value: key, selected: key === String(value) }));
  select.addEventListener("change", () => change(select.value));
  return addField(select, name, label);
}

// A dim that takes over a role leaves its old one to the dim that had the role.
function giveRole(role, name) {
  const old = ROLES.map(([other]) => other).find((other) => other !== role && name && state[other] === name);
  if (old) state[old] = state[role];
  state[role] = name;
}

function addHeld(name) {
  const dim = dims.get(name);
  const hold = (position) => {
    state.at[name] = position;
    refresh();
  };
  if (dim.is_words) {
    addSelect(`at-${name}`, nameDim(name), dim.texts.map((text, k) => [String(k), text]), state.at[name], (key) => hold(Number(key)));
    return;
  }
  const slider = element("input", "", { type: "range", min: 0, max: dim.texts.length - 1, step: 1 });
  slider.value = state.at[name];
  const field = addField(slider, `at-${name}`, nameDim(name), true);
  const output = element("output", dim.texts[state.at[name]]);
  output.setAttribute("for", slider.id);
  field.firstChild.append(output);
  const tell = () => slider.setAttribute("aria-valuetext", dim.texts[slider.value]);
  tell();
  slider.addEventListener("input", () => {
    output.textContent = dim.texts[slider.value];
    tell();
    hold(Number(slider.value));
  });
}

function change(apply) {
  const focused = document.activeElement?.id;
  apply();
  settleRoles();
  buildControls();
  if (focused) document.getElementById(focused)?.focus();
  refresh();
}

function buildControls() {
  form.replaceChildren();
  const free = listFree();
  const { quantities } = content;
  if (quantities.length > 1) {
    addSelect("quantity", "quantity", quantities.map(({ label }, k) => [String(k), label]), state.quantity, (key) => change(() => {
      Object.assign(state, { quantity: Number(key), view: 0 });
    }));
  }
  const { views } = getQuantity();
  if (views.length > 1) {
    addSelect("view", "what of it", views.map(({ label }, k) => [String(k), label]), state.view, (key) => change(() => { state.view = Number(key); }));
  }
  for (const [role, label] of ROLES) {
    const options = free.map((name) => [name, dims.get(name).label]);
    if (role !== "x") options.unshift(["", "nothing"]);
    if (options.length > 1) addSelect(role, label, options, state[role], (name) => change(() => giveRole(role, name)));
  }
  addSelect("scale", "scale", [["linear", "linear"], ["logarithmic", "logarithmic"]], state.logarithmic ? "logarithmic" : "linear", (key) => change(() => {
    state.logarithmic = key === "logarithmic";
  }));
  const held = free.filter((name) => !ROLES.some(([role]) => state[role] === name));
  if (held.length) form.append(element("h2", "Held at"));
  held.forEach(addHeld);
}

function refresh() {
  const { label, units } = getQuantity();
  const view = getView();
  const shown = view.is_score ? `${label}: mean minus theory, in standard errors` : view.label === "mean" ? label : `${view.label} of ${label}`;
  document.getElementById("shown").textContent = units && !view.is_score ? `${shown} (${units})` : shown;
  moveCursor(null);
  drawFigure();
}

form.addEventListener("submit", (event) => event.preventDefault());
if (content.quantities.length) {
  settleRoles();
  buildControls();
  refresh();
  let width = figure.clientWidth;
  new ResizeObserver(() => {
    if (figure.clientWidth === width) return;
    width = figure.clientWidth;
    requestAnimationFrame(refresh); // not at once: it may change the height of what is observed
  }).observe(figure);
  darkness.addEventListener("change", refresh);
} else {
  const command = content.replicas ? content.command : "clhd status";
  document.getElementById("shown").textContent = `no number is known; ${command} tells why`;
}
