// The timeline: what is seen is drawn, and runs narrower than a pixel are merged into their mean colour.
const labelWidth = 92, axisHeight = 22;
const kindOf = {
  run_forward: ['forward', 'forward'], run_backward: ['backward', 'backward'],
  run_backward_input: ['input gradient', 'backward-input'], run_backward_weight: ['weight gradient', 'backward-weight'],
  send_activation: ['send activation', 'send-activation'], send_gradient: ['send gradient', 'send-gradient'],
  receive_activation: ['wait for activation', 'wait'], receive_gradient: ['wait for gradient', 'wait'],
  synchronize: ['synchronize', 'synchronize'], update: ['update', 'update'], merged: ['merged', 'merged']};

const shapes = data.timeline.shapes.map(([kind, chunk, duration, busy]) => ({kind, chunk, duration, busy}));
const lanes = data.timeline.lanes.map(([rank, lane, count, text]) => {
  const read = reader(bytesOf(text));
  const made = {rank, lane, count, start: new Float64Array(count), shape: new Uint32Array(count), number: new Uint32Array(count)};
  for (let i = 0, end = 0; i < count; ++i) {
    const shape = read(), gap = read();
    made.shape[i] = shape;
    made.start[i] = end + (gap % 2 ? -(gap + 1) / 2 : gap / 2);
    made.number[i] = read();
    end = made.start[i] + shapes[shape].duration;
  }
  return made;
});
const endOf = (lane, i) => lane.start[i] + shapes[lane.shape[i]].duration;

// Later chunks are paler.
let shapeColors = [];
function chunkColor(name, chunk) {
  return data.chunks > 1 ? mixed(color(name), color('card'), 0.5 * chunk / Math.max(1, data.chunks - 1)) : color(name);
}
function colorShapes() {
  const runs = kind => kind.startsWith('run_');
  shapeColors = shapes.map(({kind, chunk}) => chunkColor(kindOf[kind][1], runs(kind) ? chunk : 0));
}

const wholeStep = Math.max(1, data.makespan_ps);
const view = {from: 0, to: wholeStep};
const listeners = [];  // of the view
let selected = null;   // {lane, i}
const canvas = byId('timeline');

// Rows of ranks; sends that overlap are thin lines below the rank's row.
const overlapped = lanes.some(lane => lane.lane > 0);
const ranks = data.ranks.length;
const rowHeight = Math.max(8, Math.min(34, Math.floor(1100 / ranks)));
const sendHeight = overlapped ? Math.max(1.5, rowHeight * 0.13) : 0;
const runHeight = rowHeight - 2 * sendHeight - Math.min(5, rowHeight * 0.18);
const chartHeight = ranks * rowHeight;
function placeOf(lane) {
  const top = axisHeight + lane.rank * rowHeight;
  return lane.lane === 0 ? [top, runHeight] : [top + runHeight + 1 + (lane.lane - 1) * sendHeight, Math.max(1, sendHeight - .5)];
}

// The first instruction of a lane that ends after `time`.
function firstAfter(lane, time) {
  let low = 0, high = lane.count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (endOf(lane, middle) > time) high = middle; else low = middle + 1;
  }
  return low;
}

function drawAxis(context, width, height, scale) {
  const span = view.to - view.from;
  let step = 10 ** Math.floor(Math.log10(span * 90 / Math.max(90, width - labelWidth)));
  step = [1, 2, 5, 10].map(k => k * step).find(k => k * scale >= 90) || step * 10;
  context.font = '11px system-ui, sans-serif';
  context.textAlign = 'left';
  context.textBaseline = 'middle';
  for (let time = Math.ceil(view.from / step) * step; time <= view.to; time += step) {
    const x = labelWidth + (time - view.from) * scale;
    context.fillStyle = color('line');
    context.fillRect(Math.round(x), 0, 1, height);
    context.fillStyle = color('muted');
    const text = readMoment(time, step, view.to);
    if (x + 4 + context.measureText(text).width < width) context.fillText(text, x + 4, 9);
  }
}

// Adds what is narrower than a pixel to its column and paints a column when the next one begins.
function columns(context, y, height) {
  let column = -1, weight = 0, red = 0, green = 0, blue = 0;
  const flush = () => {
    if (weight > 0) {
      context.globalAlpha = Math.min(1, weight);
      context.fillStyle = `rgb(${red / weight | 0},${green / weight | 0},${blue / weight | 0})`;
      context.fillRect(column, y, 1, height);
      context.globalAlpha = 1;
    }
    weight = red = green = blue = 0;
  };
  const add = (x, width, [r, g, b]) => {
    const at = Math.floor(x);
    if (at !== column) { flush(); column = at; }
    weight += width; red += r * width; green += g * width; blue += b * width;
  };
  return {add, flush};
}

function labelOf(shape, number) {
  if (shape.kind === 'merged') return number + ' ×';
  if (shape.kind === 'synchronize') return 'sync';
  if (shape.kind === 'update') return 'update';
  return data.chunks > 1 ? number + String.fromCharCode(97 + shape.chunk % 26) : String(number);
}

function drawLane(context, lane, width, scale, shapeRgb) {
  const [y, height] = placeOf(lane);
  const tiny = columns(context, y, height);
  const labelled = height >= 11;
  context.font = `${Math.min(12, height * 0.62)}px system-ui, sans-serif`;
  context.textAlign = 'center';
  for (let i = firstAfter(lane, view.from); i < lane.count && lane.start[i] < view.to; ++i) {
    const index = lane.shape[i], shape = shapes[index], run = shape.duration * scale;
    let x = labelWidth + (lane.start[i] - view.from) * scale;
    if (run < 1) {
      if (kindOf[shape.kind][1] !== 'wait') tiny.add(x, run * shape.busy / shape.duration, shapeRgb[index]);
      continue;
    }
    tiny.flush();
    const end = Math.min(width, x + run);
    x = Math.max(labelWidth, x);
    context.fillStyle = shapeColors[index];
    if (kindOf[shape.kind][1] === 'wait') {
      context.fillRect(x, y + height / 2 - 1, end - x, 2);
      continue;
    }
    const gap = end - x > 4 ? 0.75 : 0;
    context.fillRect(x, y, end - x - gap, height);
    if (shape.kind === 'merged' && shape.busy < shape.duration) {
      context.fillStyle = color('card');
      context.globalAlpha = 0.7;
      context.fillRect(x, y, end - x, height * (1 - shape.busy / shape.duration));
      context.globalAlpha = 1;
    }
    const text = labelled && end - x > 15 ? labelOf(shape, lane.number[i]) : '';
    if (text && context.measureText(text).width + 5 < end - x) {
      context.fillStyle = inkOn(shapeColors[index]);
      context.fillText(text, (x + end) / 2, y + height / 2 + 0.5);
    }
  }
  tiny.flush();
}

function drawTimeline() {
  colorShapes();
  const shapeRgb = shapeColors.map(rgb), height = axisHeight + chartHeight + 2;
  const [context, width] = prepared(canvas, height), scale = (width - labelWidth) / (view.to - view.from);
  drawAxis(context, width, height, scale);
  context.save();
  context.beginPath();
  context.rect(labelWidth, 0, width - labelWidth, height);
  context.clip();
  context.textBaseline = 'middle';
  for (const lane of lanes) drawLane(context, lane, width, scale, shapeRgb);
  if (data.iteration_ps < wholeStep) {
    context.fillStyle = color('text');
    context.fillRect(labelWidth + (data.iteration_ps - view.from) * scale, axisHeight - 6, 1.5, chartHeight + 6);
  }
  if (selected) {
    const [y, tall] = placeOf(selected.lane), x = labelWidth + (selected.lane.start[selected.i] - view.from) * scale;
    context.strokeStyle = color('text');
    context.lineWidth = 2;
    context.strokeRect(x, y - 1, Math.max(2, shapes[selected.lane.shape[selected.i]].duration * scale), tall + 2);
  }
  context.restore();
  context.textAlign = 'left';
  context.textBaseline = 'middle';
  context.fillStyle = color('text');
  context.font = `${Math.max(7, Math.min(12, rowHeight - 1))}px system-ui, sans-serif`;
  for (let rank = 0; rank < ranks; ++rank)
    context.fillText(`${stageWord} ${rank}`, 0, axisHeight + rank * rowHeight + runHeight / 2, labelWidth - 8);
}

let pending = false;
function changed() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => { pending = false; drawTimeline(); listeners.forEach(listen => listen()); });
}
function show(from, to) {
  const span = Math.max(Math.min(wholeStep, 1000), Math.min(wholeStep, to - from));
  view.from = Math.max(0, Math.min(wholeStep - span, from));
  view.to = view.from + span;
  changed();
}
function zoom(factor, at = (view.from + view.to) / 2) {
  show(at - (at - view.from) * factor, at + (view.to - at) * factor);
}
const pan = share => show(view.from + (view.to - view.from) * share, view.to + (view.to - view.from) * share);

const timeAt = x => view.from + (x - labelWidth) / (canvas.clientWidth - labelWidth) * (view.to - view.from);
function instructionAt(event) {
  const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  if (x < labelWidth) return null;
  const near = (view.to - view.from) / (canvas.clientWidth - labelWidth);  // half a pixel to each side
  for (const lane of lanes) {
    const [top, height] = placeOf(lane);
    if (y < top || y > top + height) continue;
    const i = firstAfter(lane, timeAt(x) - near / 2);
    if (i < lane.count && lane.start[i] <= timeAt(x) + near / 2) return {lane, i};
  }
  return null;
}

function titleOf({lane, i}) {
  const shape = shapes[lane.shape[i]], name = kindOf[shape.kind][0];
  if (shape.kind === 'merged') return `${lane.number[i]} instructions, merged for size`;
  if (shape.kind === 'synchronize' || shape.kind === 'update') return name;
  return `${name}, microbatch ${lane.number[i]}` + (data.chunks > 1 ? `, chunk ${shape.chunk}` : '');
}
function partner(stage, kind) {
  if (kind === 'send_activation') return ['to', stage + 1, 'forward_bytes', stage];
  if (kind === 'send_gradient') return ['to', stage - 1, 'backward_bytes', stage - 1];
  if (kind === 'receive_activation') return ['from', stage - 1, 'forward_bytes', stage - 1];
  if (kind === 'receive_gradient') return ['from', stage + 1, 'backward_bytes', stage];
  return null;
}
function factsOf({lane, i}) {
  const shape = shapes[lane.shape[i]], stage = data.ranks[lane.rank].stages[shape.chunk];
  const moment = time => readMoment(time, wholeStep / 1e5, wholeStep);
  const facts = [['start', moment(lane.start[i])], ['end', moment(endOf(lane, i))], ['duration', readPs(shape.duration)],
    ['share of the step', percent(shape.duration / data.iteration_ps)]];
  if (shape.kind === 'merged') return [...facts, ['busy', percent(shape.busy / shape.duration)], [stageWord, String(lane.rank)]];
  if (data.chunks > 1) facts.push(['rank', String(lane.rank)]);
  const whole = shape.kind === 'synchronize' || shape.kind === 'update';
  if (!whole) facts.push(['stage', String(stage)], ['layers', data.stages[stage].layers]);
  facts.push(['devices', deviceText(lane.rank)], ['mesh', meshText(lane.rank)]);
  const other = partner(stage, shape.kind);
  if (other) {
    const [way, peer, size, boundary] = other;
    facts.push([way, `stage ${peer}`], ['bytes of the microbatch', readBytes(data.stages[boundary][size])], ['link', data.stages[boundary].link.replaceAll('_', ' ')]);
  }
  return facts;
}

function select(found) {
  selected = found;
  const panel = byId('details');
  panel.replaceChildren();
  if (!found) {
    panel.append(element('p', {class: 'quiet'}, 'Click an instruction, or move to one with the arrow keys, to see its details.'));
  } else {
    panel.append(element('strong', {}, titleOf(found)), element('dl', {}, ...factsOf(found).map(([name, value]) =>
      element('div', {}, element('dt', {}, name), element('dd', {}, value)))));
    const start = found.lane.start[found.i], end = endOf(found.lane, found.i);
    if (end <= view.from || start >= view.to) show(start - (view.to - view.from) / 2, start + (view.to - view.from) / 2);
  }
  changed();
}
function step(by, sideways) {
  if (!selected) return select(lanes.length ? {lane: lanes[0], i: firstAfter(lanes[0], view.from)} : null);
  const {lane, i} = selected;
  if (by) return select({lane, i: Math.max(0, Math.min(lane.count - 1, i + by))});
  const next = lanes[Math.max(0, Math.min(lanes.length - 1, lanes.indexOf(lane) + sideways))];
  select({lane: next, i: Math.min(next.count - 1, firstAfter(next, lane.start[i]))});
}

let drag = null;
canvas.addEventListener('pointerdown', event => {
  drag = {x: event.clientX, from: view.from, to: view.to, moved: false};
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener('pointermove', event => {
  if (!drag) {
    const found = instructionAt(event);
    return showTip(event, found ? `${titleOf(found)}\n${readPs(shapes[found.lane.shape[found.i]].duration)}, ${stageWord} ${found.lane.rank}` : '');
  }
  const shift = (drag.x - event.clientX) / (canvas.clientWidth - labelWidth) * (drag.to - drag.from);
  if (Math.abs(event.clientX - drag.x) > 3) drag.moved = true;
  if (drag.moved) show(drag.from + shift, drag.to + shift);
});
canvas.addEventListener('pointerup', event => {
  if (drag && !drag.moved) select(instructionAt(event));
  drag = null;
});
canvas.addEventListener('pointerleave', () => showTip(null, ''));
canvas.addEventListener('wheel', event => {
  event.preventDefault();
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return pan((event.deltaX || event.deltaY) / 1200);
  zoom(1.0015 ** event.deltaY, timeAt(event.clientX - canvas.getBoundingClientRect().left));
}, {passive: false});
canvas.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const keys = {'+': () => zoom(0.6), '=': () => zoom(0.6), '-': () => zoom(1 / 0.6), 0: () => show(0, wholeStep),
    Home: () => show(0, view.to - view.from), End: () => show(wholeStep - (view.to - view.from), wholeStep),
    ArrowLeft: () => event.shiftKey ? pan(-0.25) : step(-1, 0), ArrowRight: () => event.shiftKey ? pan(0.25) : step(1, 0),
    ArrowUp: () => step(0, -1), ArrowDown: () => step(0, 1), Escape: () => select(null)};
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});

function legendItem(background, text) {
  return element('li', {}, element('i', {style: {background}}), text);
}
function drawLegend() {
  const used = new Set(shapes.map(shape => shape.kind));
  const items = [];
  for (const [kind, [name, tone]] of Object.entries(kindOf)) {
    if (!used.has(kind) || kind === 'receive_gradient' && used.has('receive_activation')) continue;
    if (data.chunks > 1 && kind.startsWith('run_')) {
      const tones = Array.from({length: data.chunks}, (_, chunk) => `${chunkColor(tone, chunk)} ${100 * chunk / data.chunks}% ${100 * (chunk + 1) / data.chunks}%`);
      const item = legendItem(`linear-gradient(90deg, ${tones.join(', ')})`, `${name}, chunks 0 to ${data.chunks - 1}`);
      item.firstChild.style.width = `${Math.min(6, 0.85 * data.chunks)}rem`;
      items.push(item);
    } else {
      items.push(legendItem(color(tone), tone === 'wait' ? 'waiting for another ' + stageWord : name));
    }
  }
  byId('timeline-legend').replaceChildren(...items);
}

const note = [];
if (data.timeline.merged) note.push(`Of ${data.timeline.instructions.toLocaleString('en')} instructions the first and the last are shown one by one; ${data.timeline.merged.toLocaleString('en')} between them are merged with their neighbours (grey, filled as far as they are busy).`);
if (data.iteration_ps < wholeStep) note.push(`The vertical line is the time after which the next step can begin, ${readPs(data.iteration_ps)}.`);
if (data.chunks > 1) note.push('A number is a microbatch, the letter behind it the chunk: a is chunk 0.');
byId('timeline-note').textContent = note.join(' ');
for (const [id, act] of [['zoom-in', () => zoom(0.6)], ['zoom-out', () => zoom(1 / 0.6)], ['zoom-all', () => show(0, wholeStep)]])
  byId(id).addEventListener('click', act);
redraws.push(() => { drawTimeline(); drawLegend(); });
