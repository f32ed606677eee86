// Memory of one device over time, on the time axis of the timeline, and what makes up the peaks.
const memoryTones = {parameters: 'forward', gradients: 'backward', optimizer: 'backward-weight', overhead: 'merged',
  activations: 'send-activation', 'working set': 'synchronize'};
const memoryOf = data.ranks.map(({memory}) => {
  const read = reader(bytesOf(memory.samples)), times = new Float64Array(memory.count), held = new Float64Array(memory.count);
  for (let i = 0, time = 0; i < memory.count; ++i) {
    times[i] = time += read();
    held[i] = memory.values[read()];
  }
  return {times, held};
});
const memoryCanvas = byId('memory'), memoryHeight = 210, memoryTop = 10, memoryBottom = 24;
const chosen = byId('memory-rank');
data.ranks.forEach((_, rank) => chosen.append(element('option', {value: rank}, rankTitle(rank))));
chosen.value = String(data.ranks.reduce((best, each, rank) => each.memory.peak > data.ranks[best].memory.peak ? rank : best, 0));

function sampleBefore(times, time) {
  let low = 0, high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] > time) high = middle; else low = middle + 1;
  }
  return Math.max(0, low - 1);
}
// The highest value of each pixel column.
function envelope(rank, width) {
  const {times, held} = memoryOf[rank], columns = Math.max(1, Math.floor(width)), highest = new Float64Array(columns);
  const per = (view.to - view.from) / columns;
  let i = sampleBefore(times, view.from);
  for (let column = 0; column < columns; ++column) {
    highest[column] = held[i];
    while (i + 1 < times.length && times[i + 1] < view.from + (column + 1) * per) highest[column] = Math.max(highest[column], held[++i]);
  }
  return highest;
}
const peakOfAll = Math.max(...data.ranks.map(rank => rank.memory.peak));
const largestCapacity = Math.max(...data.ranks.map(rank => rank.capacity));
const showsCapacity = largestCapacity > 0 && peakOfAll > 0.25 * largestCapacity;
const memoryScale = Math.max(1, showsCapacity ? Math.max(largestCapacity, peakOfAll) : peakOfAll) * 1.06;

function drawMemoryAxis(context, width, y) {
  let tick = 2 ** Math.ceil(Math.log2(memoryScale / 5));
  context.font = '11px system-ui, sans-serif';
  context.textBaseline = 'middle';
  context.textAlign = 'right';
  for (let value = 0; value <= memoryScale; value += tick) {
    context.fillStyle = color('line');
    context.fillRect(labelWidth, Math.round(y(value)), width - labelWidth, 1);
    context.fillStyle = color('muted');
    context.fillText(readBytes(value), labelWidth - 8, y(value));
  }
}
function drawMemory() {
  const rank = Number(chosen.value), [context, width] = prepared(memoryCanvas, memoryHeight);
  const bottom = memoryHeight - memoryBottom, y = value => bottom - (bottom - memoryTop) * value / memoryScale;
  drawMemoryAxis(context, width, y);
  const parts = data.ranks[rank].memory.parts, highest = envelope(rank, width - labelWidth);
  let base = 0;
  for (const part of ['parameters', 'gradients', 'optimizer', 'overhead']) {
    context.fillStyle = color(memoryTones[part]);
    context.fillRect(labelWidth, y(base + parts[part]), width - labelWidth, y(base) - y(base + parts[part]));
    base += parts[part];
  }
  context.fillStyle = color('send-activation');
  for (let x = 0; x < highest.length; ++x)
    if (highest[x] > base) context.fillRect(labelWidth + x, y(highest[x]), 1.05, y(base) - y(highest[x]));
  if (showsCapacity) {
    context.strokeStyle = color('update');
    context.setLineDash([5, 4]);
    context.beginPath();
    context.moveTo(labelWidth, y(data.ranks[rank].capacity));
    context.lineTo(width, y(data.ranks[rank].capacity));
    context.stroke();
    context.setLineDash([]);
  }
  context.fillStyle = color('muted');
  context.textAlign = 'left';
  context.fillText(readMoment(view.from, (view.to - view.from) / 100, view.to), labelWidth, memoryHeight - 9);
  context.textAlign = 'right';
  context.fillText(readMoment(view.to, (view.to - view.from) / 100, view.to), width, memoryHeight - 9);
}
memoryCanvas.addEventListener('pointermove', event => {
  const x = event.clientX - memoryCanvas.getBoundingClientRect().left;
  if (x < labelWidth) return showTip(null, '');
  const time = timeAt(x), {times, held} = memoryOf[Number(chosen.value)];
  showTip(event, `${readBytes(held[sampleBefore(times, time)])} at ${readMoment(time, wholeStep / 1e4, wholeStep)}`);
});
memoryCanvas.addEventListener('pointerleave', () => showTip(null, ''));
chosen.addEventListener('change', drawMemory);
listeners.push(drawMemory);
redraws.push(drawMemory);
byId('memory-note').textContent = 'One device, on the time axis of the timeline above. The coloured floor stays for the whole step; '
  + 'above it are activations and the working set of the running instruction.'
  + (showsCapacity ? ` The dashed line is the device's ${readBytes(largestCapacity)}` : ` The device has ${readBytes(largestCapacity)}`)
  + (data.ranks.some(rank => rank.capacity < largestCapacity) ? ', less in some groups.' : '.');
