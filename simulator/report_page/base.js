'use strict';
// What all parts of the page share: the data, numbers as people read them, colours, and elements.
const data = JSON.parse(document.getElementById('data').textContent);
const stageWord = data.chunks > 1 ? 'rank' : 'stage';

function bytesOf(text) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; ++i) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

// Reads numbers in base 128, low digits first.
function reader(bytes) {
  let at = 0;
  return () => {
    let number = 0, scale = 1, byte;
    do {
      byte = bytes[at++];
      number += (byte & 127) * scale;
      scale *= 128;
    } while (byte > 127);
    return number;
  };
}

function scaled(value, units) {
  if (!Number.isFinite(value)) return '–';
  let [size, unit] = units.find(([least]) => Math.abs(value) >= least * 0.9995) || units[units.length - 1];
  if (value === 0) return '0 ' + units[units.length - 1][1];
  const shown = value / size, digits = Math.abs(shown) >= 99.95 ? 0 : Math.abs(shown) >= 9.995 ? 1 : 2;
  return shown.toFixed(digits) + ' ' + unit;
}
const timeUnits = [[1, 's'], [1e-3, 'ms'], [1e-6, 'us'], [1e-9, 'ns'], [1e-12, 'ps']];
const sizeUnits = [[2 ** 40, 'TiB'], [2 ** 30, 'GiB'], [2 ** 20, 'MiB'], [1024, 'KiB'], [1, 'B']];
const readTime = seconds => scaled(seconds, timeUnits);
const readPs = picoseconds => readTime(picoseconds * 1e-12);
const readBytes = bytes => scaled(bytes, sizeUnits);
const percent = share => Number.isFinite(share) ? (100 * share).toFixed(1) + ' %' : '–';
// A moment with enough digits to tell `step` apart.
function readMoment(picoseconds, step, last) {
  const [size, unit] = timeUnits.find(([least]) => last * 1e-12 >= least) || timeUnits[4];
  const digits = Math.max(0, Math.min(12, Math.ceil(-Math.log10(step * 1e-12 / size) - 1e-9)));
  return (picoseconds * 1e-12 / size).toFixed(digits) + ' ' + unit;
}

// Text goes in as text, never as HTML.
function element(name, attributes = {}, ...children) {
  const svg = ['svg', 'rect', 'text', 'g', 'path', 'title'].includes(name);
  const made = svg ? document.createElementNS('http://www.w3.org/2000/svg', name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
    else if (key === 'style' && typeof value === 'object') Object.assign(made.style, value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}
const byId = id => document.getElementById(id);

let colorCache = {};
function color(name) {
  return colorCache[name] ||= getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();
}
function rgb(hex) {
  return [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
}
function mixed(a, b, share) {
  const from = rgb(a), to = rgb(b);
  return '#' + from.map((v, i) => Math.round(v + (to[i] - v) * share).toString(16).padStart(2, '0')).join('');
}
// Black or white, whichever can be read on `hex`.
function inkOn(hex) {
  const [r, g, b] = rgb(hex).map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? '#000000' : '#ffffff';
}
// A colour per rank: eight that are told apart with any kind of sight, then the same paler.
const dark = matchMedia('(prefers-color-scheme: dark)');
const rankTones = ['#4878cf', '#e08a3c', '#2f9e8f', '#c9619d', '#a8a23a', '#7b62c9', '#5fb0dc', '#a9714b'];
function rankColor(rank) {
  return mixed(rankTones[rank % 8], color('card'), 0.2 * (Math.floor(rank / 8) % 4));
}

const redraws = [];
dark.addEventListener('change', () => { colorCache = {}; redraws.forEach(draw => draw()); });
addEventListener('resize', () => redraws.forEach(draw => draw()));

// A canvas as sharp as the screen; returns its context and its width in CSS pixels.
function prepared(canvas, height) {
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth || 900;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = height + 'px';
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return [context, width];
}

const tip = element('div', {id: 'tip', hidden: ''});
document.body.append(tip);
function showTip(event, text) {
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8)) + 'px';
  tip.style.top = (event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 10 : event.clientY + 18) + 'px';
}
function withTip(made, text) {
  made.addEventListener('pointermove', event => showTip(event, text));
  made.addEventListener('pointerleave', () => showTip(null, ''));
  return made;
}

function rankTitle(rank) {
  const layers = data.ranks[rank].stages.map(stage => data.stages[stage].layers);
  return `${stageWord} ${rank}: ${layers.join(', ')}`;
}
function deviceText(rank) {
  const devices = data.ranks[rank].devices, first = devices[0], last = devices[devices.length - 1];
  if (devices.length === 1) return `device ${first}`;
  return last - first + 1 === devices.length ? `devices ${first}–${last}` : `${devices.length} devices from ${first}`;
}
function meshText(rank) {
  const axes = data.stages[data.ranks[rank].stages[0]].mesh;
  return axes.length ? axes.map(([name, size]) => `${name}=${size}`).join(' ') : 'no axes';
}
