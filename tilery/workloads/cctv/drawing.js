"use strict";
// Lines, zones and ground points, drawn on the picture and written as the options of `tilery redo`. Pixels are those of the
// full frame whatever the size on the screen. The names are limited to what the option takes, so that the text needs no
// quoting beyond '...'.
(() => {
  const root = document.querySelector("[data-drawing]");
  const state = JSON.parse(root.dataset.drawing);
  const svg = root.querySelector("svg");
  const [width, height] = state.size;
  const unit = Math.max(width, height) / 100;
  const find = (name) => root.querySelector("[data-role=" + name + "]");
  const past = [];
  let mode = "line";
  let open = [];
  let grabbed = null;

  const round = (value) => Math.round(value * 10) / 10;
  const clamp = (value, most) => Math.min(Math.max(value, 0), most);
  const clean = (name) => name.replace(/[^A-Za-z0-9 ._-]/g, "").slice(0, 40);
  const remember = () => past.push(JSON.stringify([state.lines, state.zones, state.points, open]));

  function place(event) {
    const box = svg.getBoundingClientRect();
    return [
      round(clamp((event.clientX - box.left) / box.width * width, width)),
      round(clamp((event.clientY - box.top) / box.height * height, height)),
    ];
  }

  function free(kind, shapes) {
    const asked = clean(find("name").value).trim();
    if (asked && !(asked in shapes)) return asked;
    let number = 1;
    while (kind + " " + number in shapes) number += 1;
    return kind + " " + number;
  }

  function close() {
    if (mode === "line" && open.length === 2) state.lines[free("line", state.lines)] = open;
    else if (mode === "zone" && open.length > 2) state.zones[free("zone", state.zones)] = open;
    else return;
    open = [];
    find("name").value = "";
    draw();
  }

  function click(event) {
    remember();
    const point = place(event);
    if (mode === "ground") state.points.push({at: point, metres: ["", ""]});
    else open.push(point);
    if (mode === "line") close();
    draw();
  }

  function node(kind, attributes, text) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    svg.appendChild(made);
    return made;
  }

  function shape(kind, points, name) {
    const list = points.map((point) => point.join(",")).join(" ");
    const closed = kind === "zone" && name !== null;
    node(closed ? "polygon" : "polyline", {points: list, class: kind, "stroke-width": unit * 0.35});
    for (const point of points) handle(point, kind);
    if (name === null) return;
    const [x, y] = points[0];
    const label = node("text", {x: x + unit, y: Math.max(y - unit * 0.8, unit * 2.2), class: kind, "font-size": unit * 2.2}, name);
    label.setAttribute("stroke-width", unit * 0.5);
    if (kind === "line") side(points);
  }

  // an arrow across the line: crossings that way are counted as forward
  function side([[ax, ay], [bx, by]]) {
    const length = Math.hypot(bx - ax, by - ay) || 1;
    const across = [-(by - ay) / length, (bx - ax) / length];
    const [x, y] = [(ax + bx) / 2, (ay + by) / 2];
    const tip = [x + across[0] * unit * 4, y + across[1] * unit * 4];
    const along = [(bx - ax) / length * unit, (by - ay) / length * unit];
    const back = [tip[0] - across[0] * unit * 1.5, tip[1] - across[1] * unit * 1.5];
    const d = `M${x} ${y}L${tip}M${back[0] + along[0]} ${back[1] + along[1]}L${tip}L${back[0] - along[0]} ${back[1] - along[1]}`;
    node("path", {d, class: "line", "stroke-width": unit * 0.3});
  }

  function handle(point, kind) {
    const circle = node("circle", {cx: point[0], cy: point[1], r: unit, class: kind, "stroke-width": unit * 0.3});
    circle.addEventListener("pointerdown", (event) => {
      remember();
      grabbed = point;
      svg.setPointerCapture(event.pointerId);
      event.stopPropagation();
    });
  }

  function rows() {
    const body = find("shapes");
    body.replaceChildren();
    for (const [kind, shapes] of [["line", state.lines], ["zone", state.zones]]) {
      for (const name of Object.keys(shapes)) body.appendChild(named(kind, shapes, name));
    }
    state.points.forEach((point, number) => body.appendChild(ground(point, number)));
  }

  function row(kind, fields, remove) {
    const line = document.createElement("tr");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Remove";
    button.addEventListener("click", () => { remember(); remove(); draw(); });
    for (const content of [[kind], fields, [button]]) {
      const cell = document.createElement("td");
      cell.append(...content);
      line.appendChild(cell);
    }
    return line;
  }

  function input(label, value, change) {
    const made = document.createElement("input");
    made.setAttribute("aria-label", label);
    made.placeholder = label;
    made.value = value;
    made.addEventListener("change", () => { remember(); change(made.value); draw(); });
    return made;
  }

  function named(kind, shapes, name) {
    const rename = (value) => {
      const wanted = clean(value).trim();
      if (!wanted || wanted in shapes) return;
      const entries = Object.entries(shapes).map(([key, points]) => [key === name ? wanted : key, points]);
      for (const key of Object.keys(shapes)) delete shapes[key];
      Object.assign(shapes, Object.fromEntries(entries));
    };
    return row(kind, [input("name", name, rename)], () => delete shapes[name]);
  }

  function ground(point, number) {
    const set = (which) => (value) => { point.metres[which] = value.trim().replace(",", "."); };
    const fields = [
      `${number + 1} `, input("m east", point.metres[0], set(0)), " ", input("m north", point.metres[1], set(1)),
    ];
    return row("ground", fields, () => state.points.splice(number, 1));
  }

  function isNumber(text) {
    return text !== "" && Number.isFinite(Number(text));
  }

  function settings() {
    const said = [];
    const set = (name, value) => said.push("--set '" + name + "=" + JSON.stringify(value) + "'");
    if (JSON.stringify(state.lines) !== state.before.lines) set("lines", state.lines);
    if (JSON.stringify(state.zones) !== state.before.zones) set("zones", state.zones);
    const whole = state.points.filter((point) => point.metres.every(isNumber));
    if (JSON.stringify(state.points) !== state.before.points) {
      if (whole.length >= 4 && whole.length === state.points.length) {
        const metres = whole.map((point) => point.metres.map(Number));
        set("calibration", {...state.origin, points: whole.map((point) => point.at), metres});
      } else if (!state.points.length && state.before.points !== "[]") set("calibration", null);
    }
    return said.join(" ");
  }

  function hint() {
    if (mode === "line") return open.length ? "Click the line's other end." : "Click the two ends of a counting line.";
    if (mode === "zone") return open.length > 2 ? "Click on, or close the zone." : "Click the corners of a zone, at least three.";
    const whole = state.points.filter((point) => point.metres.every(isNumber)).length;
    return `Click at least four points on the ground and write down where they are in metres (${whole} known).`;
  }

  function draw() {
    svg.replaceChildren();
    for (const [name, points] of Object.entries(state.lines)) shape("line", points, name);
    for (const [name, points] of Object.entries(state.zones)) shape("zone", points, name);
    state.points.forEach((point, number) => {
      handle(point.at, "ground");
      const [x, y] = point.at;
      const label = node("text", {x: x + unit, y: y - unit * 0.8, class: "ground", "font-size": unit * 2.2}, String(number + 1));
      label.setAttribute("stroke-width", unit * 0.5);
    });
    if (open.length) shape(mode, open, null);
    rows();
    find("hint").textContent = hint();
    find("close").hidden = mode !== "zone";
    find("close").disabled = open.length < 3;
    find("undo").disabled = !past.length;
    const said = settings();
    find("text").value = said ? "tilery redo " + state.run + " " + said : "";
    find("copy").disabled = !said;
  }

  async function copy() {
    const text = find("text");
    let done = false;
    try {
      await navigator.clipboard.writeText(text.value);
      done = true;
    } catch {
      text.focus();
      text.select();
      done = document.execCommand("copy");
    }
    find("copied").textContent = done ? "Copied." : "Press Ctrl+C to copy.";
  }

  state.before = {};
  for (const name of ["lines", "zones", "points"]) state.before[name] = JSON.stringify(state[name]);
  // proposed lines are no options yet: they become some once anything about them is changed
  if (state.proposed) state.before.lines = JSON.stringify(state.lines);

  svg.addEventListener("pointerdown", (event) => { if (event.button === 0 && !grabbed) click(event); });
  svg.addEventListener("pointermove", (event) => {
    if (!grabbed) return;
    [grabbed[0], grabbed[1]] = place(event);
    draw();
  });
  svg.addEventListener("pointerup", () => { grabbed = null; });
  for (const radio of root.querySelectorAll("input[type=radio]")) {
    radio.addEventListener("change", () => { mode = radio.value; open = []; draw(); });
  }
  find("close").addEventListener("click", () => { remember(); close(); });
  find("undo").addEventListener("click", () => {
    [state.lines, state.zones, state.points, open] = JSON.parse(past.pop());
    draw();
  });
  find("copy").addEventListener("click", copy);
  root.querySelector("[data-role=tools]").hidden = false;
  draw();
})();
