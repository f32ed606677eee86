// The cluster as a picture: a row per host, a cell per device, the colour of the rank that has it; and each mesh.
function hostList() {
  let first = 0;
  return data.groups.flatMap(({name, hosts, devices_per_host: devices}) => Array.from({length: hosts}, () => {
    const begin = first;
    first += devices;
    return {first: begin, devices, group: name};
  }));
}
function drawCluster() {
  const each = hostList(), hosts = each.length, perHost = Math.max(...data.groups.map(group => group.devices_per_host)), owner = new Map();
  data.ranks.forEach(({devices}, rank) => devices.forEach(device => owner.set(device, rank)));
  const columns = hosts > 24 ? Math.min(8, Math.ceil(hosts / 24)) : hosts > 6 ? 2 : 1;
  const cell = Math.max(4, Math.min(columns > 1 ? 26 : 40, Math.floor(1100 / columns / perHost) - (hosts > 64 ? 3 : 8)));
  const label = 58, gap = cell >= 18 ? 4 : 1, tall = Math.max(cell, 14) + 10, wide = label + perHost * (cell + gap) + 16;
  const rows = Math.ceil(hosts / columns), svg = element('svg', {width: columns * wide, height: rows * tall, role: 'img',
    'aria-label': `${data.groups.map(group => `${group.hosts} hosts of ${group.devices_per_host} devices`).join(' and ')}, coloured by ${stageWord}`});
  for (let host = 0; host < hosts; ++host) {
    const x = Math.floor(host / rows) * wide, y = (host % rows) * tall;
    const name = element('text', {x, y: y + cell / 2 + 4, class: 'quiet'}, `host ${host}`);
    svg.append(each[host].group ? withTip(name, each[host].group) : name);
    for (let slot = 0; slot < each[host].devices; ++slot) {
      const device = each[host].first + slot, rank = owner.get(device), fill = rank === undefined ? color('soft') : rankColor(rank);
      const left = x + label + slot * (cell + gap);
      const square = element('rect', {x: left, y, width: cell, height: cell, rx: Math.min(5, cell / 5), fill});
      svg.append(withTip(square, rank === undefined ? `device ${device}, unused` : `device ${device}\n${rankTitle(rank)}`));
      if (cell >= 24) svg.append(element('text', {x: left + cell / 2, y: y + cell / 2 + 4, 'text-anchor': 'middle', class: 'on', 'pointer-events': 'none',
        style: `fill:${rank === undefined ? color('muted') : inkOn(fill)}`}, String(device)));
    }
  }
  byId('cluster').replaceChildren(svg);
  byId('cluster-legend').replaceChildren(...data.ranks.slice(0, 64).map((_, rank) => legendItem(rankColor(rank), rankTitle(rank))));
}

// The devices of a rank laid out by its mesh: the last axis runs to the right, the one before it down, others in blocks.
function meshPicture(rank) {
  const {devices} = data.ranks[rank], axes = data.stages[data.ranks[rank].stages[0]].mesh;
  const across = axes.length ? axes[axes.length - 1][1] : 1, down = axes.length > 1 ? axes[axes.length - 2][1] : 1;
  const shownAcross = Math.min(across, 16), shownDown = Math.min(down, 16), cell = 30, left = 62, top = 24, fill = rankColor(rank);
  const svg = element('svg', {width: left + shownAcross * cell + 30, height: top + shownDown * cell + 22, role: 'img',
    'aria-label': `mesh of ${stageWord} ${rank}: ${meshText(rank)}`});
  if (axes.length) svg.append(element('text', {x: left, y: 14}, `${axes[axes.length - 1][0]} = ${across} →`));
  if (axes.length > 1) svg.append(element('text', {x: left - 8, y: top + 19, 'text-anchor': 'end'}, `${axes[axes.length - 2][0]} = ${down} ↓`));
  for (let row = 0; row < shownDown; ++row)
    for (let column = 0; column < shownAcross; ++column) {
      const x = left + column * cell, y = top + row * cell;
      svg.append(element('rect', {x, y, width: cell - 3, height: cell - 3, rx: 4, fill}),
        element('text', {x: x + (cell - 3) / 2, y: y + (cell - 3) / 2 + 4, 'text-anchor': 'middle', class: 'on', style: `fill:${inkOn(fill)}`},
          String(devices[row * across + column])));
    }
  const more = [];
  if (shownAcross < across || shownDown < down) more.push('and so on');
  for (const [name, size] of axes.slice(0, -2)) more.push(`first of ${size} along ${name}`);
  if (more.length) svg.append(element('text', {x: left, y: top + shownDown * cell + 14, class: 'quiet'}, more.join(', ')));
  return svg;
}
function drawMeshes() {
  const alike = new Map();
  data.ranks.forEach(({submesh}, rank) => {
    const key = JSON.stringify([submesh, meshText(rank)]);
    alike.set(key, [...(alike.get(key) || []), rank]);
  });
  byId('meshes').replaceChildren(...[...alike.values()].map(list => {
    const [hosts, perHost] = data.ranks[list[0]].submesh, last = list[list.length - 1];
    const who = list.length === 1 ? `${stageWord} ${list[0]}` : last - list[0] + 1 === list.length ? `${stageWord}s ${list[0]} to ${last}` : `${stageWord}s ${list.join(', ')}`;
    const shown = list.length > 1 ? `; drawn for ${stageWord} ${list[0]}` : '';
    return element('div', {}, element('h3', {}, who), element('p', {class: 'quiet'}, `${hosts} × ${perHost} devices, ${meshText(list[0])}${shown}`), meshPicture(list[0]));
  }));
}
redraws.push(drawCluster, drawMeshes);
