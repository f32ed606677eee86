// The sharding of each operator and parameter: searched, sorted, a page of rows at a time.
const shardingAxes = data.shardings.axes, axisNames = (data.stages.find(stage => stage.mesh.length === shardingAxes) || {mesh: []}).mesh.map(([name]) => name);
const shardingColumns = [['kind', 'left'], ['stage', ''], ['layer', 'left'], ['name', 'left'], ...axisNames.map(name => ['axis ' + name, 'left']),
  ['inputs', 'left'], ['outputs', 'left'], ['parameter state', 'left'], ['time', ''], ['per device', '']];
const timeColumn = shardingColumns.length - 2, bytesColumn = shardingColumns.length - 1;
const rowTexts = data.shardings.rows.map(row => row.slice(0, timeColumn).join(' ').toLowerCase());
const table = {sort: null, down: false, shown: 100, kind: 'all'};
const search = byId('search'), pageOfRows = 100;

function cellText(value, column) {
  if (value === null || value === '') return '–';
  return column === timeColumn ? readTime(value) : column === bytesColumn ? readBytes(value) : String(value);
}
function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === 'number' ? a - b : String(a).localeCompare(String(b), 'en', {numeric: true});
}
function matching() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean), found = [];
  data.shardings.rows.forEach((row, i) => {
    if ((table.kind === 'all' || row[0] === table.kind) && words.every(word => rowTexts[i].includes(word))) found.push(i);
  });
  if (table.sort === null) return found;
  const {rows} = data.shardings, sign = table.down ? -1 : 1;
  return found.sort((i, j) => sign * compare(rows[i][table.sort], rows[j][table.sort]) || i - j);
}
function drawRows() {
  const found = matching(), {rows} = data.shardings;
  byId('sharding-count').textContent = `${found.length.toLocaleString('en')} of ${rows.length.toLocaleString('en')} rows`;
  byId('sharding-rows').replaceChildren(...found.slice(0, table.shown).map(i => element('tr', {}, ...rows[i].map((value, column) =>
    element('td', {class: shardingColumns[column][1]}, cellText(value, column))))));
  byId('more').hidden = found.length <= table.shown;
  byId('more').textContent = `Show ${Math.min(pageOfRows, found.length - table.shown)} more`;
}
function sortBy(column) {
  table.down = table.sort === column ? !table.down : column >= timeColumn;
  table.sort = column;
  drawHead();
  drawRows();
}
function drawHead() {
  byId('sharding-head').replaceChildren(...shardingColumns.map(([name, side], column) => {
    const sorted = table.sort === column, arrow = sorted ? (table.down ? ' ▼' : ' ▲') : '';
    return element('th', {class: side, scope: 'col', 'aria-sort': sorted ? (table.down ? 'descending' : 'ascending') : 'none'},
      element('button', {type: 'button', onclick: () => { sortBy(column); byId('sharding-head').children[column].firstChild.focus(); }}, name + arrow));
  }));
}
search.addEventListener('input', () => { table.shown = pageOfRows; drawRows(); });
byId('more').addEventListener('click', () => { table.shown += pageOfRows; drawRows(); });
for (const button of document.querySelectorAll('[data-kind]'))
  button.addEventListener('click', () => {
    table.kind = button.dataset.kind;
    table.shown = pageOfRows;
    for (const each of document.querySelectorAll('[data-kind]')) each.setAttribute('aria-pressed', String(each === button));
    drawRows();
  });

drawHead();
drawRows();
select(null);
redraws.forEach(draw => draw());
document.documentElement.dataset.ready = 'yes';
