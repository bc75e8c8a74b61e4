// Parts of a report that move: the map of coverage, the filter, the chart of the series that is looked at.
(() => {
  const element = document.getElementById("data"), data = element ? JSON.parse(element.textContent) : {};

  // --- the map: names of the rows, which stay in sight, and beside them a coloured cell for each month with
  // its sign on it, in the colours of the page. Browsers bound the size of a canvas: it is drawn in pieces.

  const map = data.heat, place = document.getElementById("heat");
  const drawMap = () => {
    const [year, month] = map.first.split("-").map(Number), months = map.rows[0].cells.length;
    const high = 16, top = 18, piece = 250, label = place.clientWidth < 600 ? 100 : 150;
    const wide = Math.max(8, Math.min(16, Math.floor((place.clientWidth - label) / months)));
    const ratio = map.rows.length > 1000 ? 1 : devicePixelRatio || 1;
    const named = i => new Date(Date.UTC(year, month - 1 + i)).toISOString().slice(0, 7);
    const pen = (canvas, width, height) => {
      canvas.width = width * ratio; canvas.height = height * ratio;
      canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
      const brush = canvas.getContext("2d");
      brush.scale(ratio, ratio); brush.textBaseline = "middle"; brush.font = "12px system-ui, sans-serif";
      return brush;
    };
    const draw = ({rows, names, cells}) => {
      const style = getComputedStyle(document.body), ink = name => style.getPropertyValue(name).trim();
      const height = top + rows.length * high, paint = {};
      for (const [sign, name] of Object.entries(map.signs))
        paint[sign] = [ink(`--c-${name}`), ink(`--on-${name}`)];
      const left = pen(names, label, height), right = pen(cells, months * wide, height);
      left.fillStyle = ink("--ink"); right.fillStyle = ink("--faint");
      for (let i = (13 - month) % 12; i < months; i += 12)
        right.fillText(named(i).slice(0, 4), i * wide, top / 2);
      right.textAlign = "center"; right.font = "600 10px ui-monospace, monospace";
      rows.forEach((row, r) => {
        const y = top + r * high;
        left.fillText(row.name, 0, y + high / 2, label - 6);
        for (let i = 0; i < months; i++) {
          const sign = row.cells[i]; if (sign === " ") continue;
          right.fillStyle = paint[sign][0]; right.fillRect(i * wide, y, wide - 1, high - 1);
          right.fillStyle = paint[sign][1]; right.fillText(sign, (i + 0.5) * wide - 0.5, y + high / 2);
        }
      });
    };
    const all = [];
    for (let first = 0; first < map.rows.length; first += piece) {
      const one = {rows: map.rows.slice(first, first + piece)}, line = document.createElement("div");
      for (const name of ["names", "cells"]) {
        one[name] = document.createElement("canvas"); one[name].className = name; line.append(one[name]);
      }
      one.cells.addEventListener("pointermove", event => {
        const row = one.rows[Math.floor((event.offsetY - top) / high)];
        const at = Math.floor(event.offsetX / wide), sign = row && row.cells[at];
        one.cells.title = sign ? `${row.name} ${named(at)}: ${map.signs[sign]}` : "";
      });
      place.append(line); all.push(one); draw(one);
    }
    place.scrollLeft = place.scrollWidth;
    place.dataset.cell = JSON.stringify({top, wide, high});
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => all.forEach(draw));
  };

  // --- the filter: rows that have every word

  const filter = document.getElementById("filter"), count = document.getElementById("filtered");
  if (filter) {
    const rows = [...document.querySelectorAll(".filtered tbody tr")];
    filter.hidden = false;
    filter.addEventListener("input", () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every(word => text.includes(word));
        shown += !row.hidden;
      }
      count.textContent = words.length ? `${shown.toLocaleString("en-US")} of ${rows.length.toLocaleString("en-US")}` : "";
    });
  }

  // --- the series that a link leads to: its chart is drawn when it is looked at

  const look = () => {
    const view = location.hash && document.getElementById(location.hash.slice(1));
    if (view && view.classList.contains("view")) {
      const box = view.querySelector(".figure");
      if (box && !box.dataset.drawn) {
        box.dataset.drawn = "yes";
        const {symbol, timeframe, lane, line: {times, closes}} = data.series[Number(view.dataset.series)];
        const places = closes.reduce((most, close) => Math.max(most, Math.min(4, `${close}`.split(".")[1]?.length ?? 0)), 2);
        drawChart(box, {
          title: `${symbol} ${timeframe}${lane ? `@${lane}` : ""}`, about: `${closes.length} closes, evenly spread`, places,
          is_live: closes.every(close => Math.abs(close) < 9e13), is_daily: times.every(time => time.length === 10), last: null,
          time: times.map(time => Date.parse(time.length === 10 ? `${time}T00:00:00Z` : time) / 1000),
          series: [{symbol, close: closes, breaks: []}], lines: [], gaps: [], marks: [], sessions: [],
        });
      }
    } else if (map && map.rows.length && place && !place.dataset.cell) drawMap();
  };
  addEventListener("hashchange", () => { look(); scrollTo(0, 0); });
  addEventListener("load", look);  // before it no element is the one that the address leads to
})();
