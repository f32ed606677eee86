// Stacked bars with a row per rank, and the same numbers as a table.
const timeTones = {'forward compute': 'forward', 'backward compute': 'backward', recompute: 'recompute', collectives: 'collectives',
  sends: 'send-activation', synchronization: 'synchronize', update: 'update', bubble: 'bubble'};

function drawBars(place, tones, rows, full, read) {
  const grid = element('div', {class: 'bars'});
  rows.forEach(({name, parts, total, mark}) => {
    const bar = element('div', {class: 'bar'});
    for (const [part, value] of Object.entries(parts)) {
      if (!(value > 0)) continue;
      const background = color(tones[part]), share = value / full;
      const text = share > 0.07 ? read(value) : '';
      bar.append(withTip(element('span', {style: {width: 100 * share + '%', background, color: inkOn(background)}}, text),
        `${part}: ${read(value)}, ${percent(share)}`));
    }
    if (mark) bar.append(element('em', {style: {left: `calc(${100 * mark / full}% - 1px)`}}));
    grid.append(element('span', {class: 'name', title: name}, name), bar, element('span', {class: 'total'}, total));
  });
  const used = Object.keys(tones).filter(part => rows.some(row => row.parts[part] > 0));
  place.replaceChildren(grid, element('ul', {class: 'legend'}, ...used.map(part => legendItem(color(tones[part]), part))),
    element('details', {}, element('summary', {}, 'The numbers'), element('div', {class: 'wide'}, element('table', {},
      element('thead', {}, element('tr', {}, element('th', {class: 'left', scope: 'col'}, stageWord), ...used.map(part => element('th', {scope: 'col'}, part)))),
      element('tbody', {}, ...rows.map(({parts}, rank) => element('tr', {}, element('th', {class: 'left', scope: 'row'}, String(rank)),
        ...used.map(part => element('td', {}, read(parts[part]))))))))));
}
function drawAllBars() {
  const busy = times => Object.entries(times).reduce((sum, [part, value]) => part === 'bubble' ? sum : sum + value, 0);
  const full = Math.max(data.iteration_s, ...data.ranks.map(({times}) => busy(times))) || 1;
  drawBars(byId('times'), timeTones, data.ranks.map(({times}, rank) => ({name: rankTitle(rank), parts: times,
    total: percent(busy(times) / full) + ' busy'})), full, readTime);
  const most = Math.max(...data.ranks.map(({capacity, memory}) => Math.max(capacity, memory.peak))) || 1;
  drawBars(byId('peaks'), memoryTones, data.ranks.map(({capacity, memory}, rank) => ({name: rankTitle(rank), parts: memory.parts,
    total: `${readBytes(memory.peak)}, ${percent(memory.peak / capacity)}`, mark: most > capacity ? capacity : 0})), most, readBytes);
}
redraws.push(drawAllBars);
