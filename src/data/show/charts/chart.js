// Draws the data of a chart into its place: zoom, pan, ranges, scales, the values at the pointer.
// Without it, the small drawing that is in the page is shown.
const drawChart = (box, data) => {
  const [bar, out, place, earlier, legend] = [".ranges", ".readout", ".plot", ".earlier", ".legend"].map(name => box.querySelector(name));
  const library = globalThis.LightweightCharts;
  if (!data.is_live || !library) return;
  const {time: times, series, places} = data, count = times.length;
  const single = series.length === 1 ? series[0] : null, bars = single?.open ? single : null;
  const filled = times.map((_, at) => at).filter(at => series.some(one => one.close[at] !== null));
  if (!filled.length) return;
  const newest = filled[filled.length - 1], gone = series.map(one => new Set(one.breaks));
  const hued = bars && bars.vendors.length > 1 ? bars.vendors.length : 1;  // the hues of the vendors come first

  // --- texts

  const format = (least, most) => new Intl.NumberFormat("en-US", {minimumFractionDigits: least, maximumFractionDigits: most});  // made once: each frame of a zoom has dozens of numbers
  const [prices, volumes] = [format(places, places), format(0, 8)];
  const clock = seconds => new Date(seconds * 1000).toISOString();
  const written = seconds => data.is_daily ? clock(seconds).slice(0, 10) : clock(seconds).slice(0, 16).replace("T", " ");
  const positive = series.every(one => (one.low || one.close).every(value => value === null || value > 0));
  const price = value => positive && value < 0 ? "" : prices.format(value);  // below the prices is the volume
  const moment = at => written(times[at]) + (data.last ? ` to ${written(times[at] + data.last[at])}` : "");
  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const tick = (seconds, kind) => {
    const time = new Date(seconds * 1000), month = months[time.getUTCMonth()], year = `${time.getUTCFullYear()}`;
    return [year, `${month} ${year}`, `${time.getUTCDate()} ${month}`][kind] ?? clock(seconds).slice(11, 16);
  };

  // --- the chart

  let colours = new Map();  // of the page's colours: each is read once, for a frame of a zoom has hundreds
  const paint = name => {
    if (!colours.has(name)) colours.set(name, getComputedStyle(box).getPropertyValue(`--p-${name}`).trim());
    return colours.get(name);
  };
  const hue = at => paint(`hue-${at % 20}`);
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const looks = () => ({
    layout: {attributionLogo: false, background: {color: paint("paper")}, textColor: paint("faint"), fontFamily: "system-ui, sans-serif", fontSize: 12},
    grid: {vertLines: {visible: false}, horzLines: {color: paint("line")}},
    crosshair: {mode: 0, vertLine: {color: paint("faint"), labelBackgroundColor: paint("ink")}, horzLine: {color: paint("faint"), labelBackgroundColor: paint("ink")}},
    rightPriceScale: {borderColor: paint("line"), entireTextOnly: true},
  });
  box.classList.add("live");
  box.classList.toggle("compared", !single);
  const chart = library.createChart(place, {
    ...looks(), autoSize: true,
    localization: {priceFormatter: price, timeFormatter: written},
    timeScale: {minBarSpacing: 0.002, rightOffset: 1, timeVisible: !data.is_daily, secondsVisible: false, borderVisible: false, tickMarkFormatter: tick},
    kineticScroll: {touch: !still, mouse: false},
  });
  // No label of the axis of time is cut: at an edge it is moved inside, and one whose bar is outside is left out.
  for (const axis of place.querySelectorAll("tr:last-child canvas")) {
    const pen = axis.getContext("2d"), write = pen.fillText;
    pen.fillText = (text, x, y) => {
      const half = pen.textAlign === "center" ? pen.measureText(text).width / 2 : 0, wide = axis.width / pen.getTransform().a;
      if (x >= 0 && x <= wide) write.call(pen, text, Math.max(half, Math.min(wide - half, x)), y);
    };
  }
  const scale = chart.timeScale(), shape = {priceFormat: {type: "custom", formatter: price, minMove: 10 ** -places}};
  // A line leads from a point to the next one with a value, in the first one's colour: none, before a gap.
  const points = (values, breaks) => times.map((time, at) => values[at] === null ? {time} : {time, value: values[at], ...(breaks.has(at) ? {color: "transparent"} : {})});
  // A bar without a value breaks a line of a program.
  const broken = values => new Set(filled.filter((at, n) => gone[0].has(at) || (n + 1 < filled.length && values[filled[n + 1]] === null)));
  // A bar between two gaps is a dot.
  const lone = series.map((one, at) => {
    const own = filled.filter(place => one.close[place] !== null);
    return own.filter((place, n) => (n === 0 || gone[at].has(own[n - 1])) && (n === own.length - 1 || gone[at].has(place)));
  });
  const candles = bars && chart.addSeries(library.CandlestickSeries, shape);
  const volume = bars && bars.volume.some(one => one !== null) && chart.addSeries(library.HistogramSeries, {priceScaleId: "volume", lastValueVisible: false, priceLineVisible: false, priceFormat: {type: "volume"}});
  const all = [...(bars ? [] : series.map((one, at) => [one.close, gone[at], at])), ...data.lines.map((one, at) => [one.values, broken(one.values), at + hued])];
  // A far spike, which is marked at the edge, does not change the scale of several lines.
  const [lowest, highest] = data.extent || [-Infinity, Infinity];
  const within = own => {
    const info = own(), range = info?.priceRange;
    if (range) range.minValue = Math.min(Math.max(range.minValue, lowest), highest), range.maxValue = Math.max(Math.min(range.maxValue, highest), lowest);
    return info;
  };
  const dashes = [0, 2, 1, 3];  // after eight colours, lines differ in style as well
  const lines = all.map(([, , at]) => chart.addSeries(library.LineSeries, {...shape, lineWidth: 2, lineStyle: dashes[Math.floor(at / 8) % 4], autoscaleInfoProvider: within, priceLineVisible: false, lastValueVisible: !bars}));
  const first = candles || lines[0];
  const draw = () => {
    all.forEach(([values, breaks, at], n) => { lines[n].applyOptions({color: hue(at)}); lines[n].setData(points(values, breaks)); });
    if (!bars) return;
    const [up, down] = [paint("up"), paint("down")], pale = new Set(bars.pale);
    candles.applyOptions({upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false});
    candles.setData(times.map((time, at) => {
      const [open, high, low, close] = [bars.open, bars.high, bars.low, bars.close].map(one => one[at]);
      if (close === null) return {time};
      const own = pale.has(at) && paint(close < open ? "down-pale" : "up-pale");
      return {time, open, high, low, close, ...(own ? {color: own, wickColor: own} : {})};
    }));
    if (!volume) return;
    const means = bars.bars ? bars.volume.map((sum, at) => sum === null ? null : sum / bars.bars[at]) : bars.volume;
    volume.applyOptions({color: paint("volume")});
    volume.setData(times.map((time, at) => means[at] ? {time, value: means[at]} : {time}));
    chart.priceScale("volume").applyOptions({scaleMargins: {top: 0.82, bottom: hued > 1 ? 0.015 : 0}});
    chart.priceScale("right").applyOptions({scaleMargins: {top: 0.08, bottom: 0.24}});
  };
  draw();

  // --- gaps, sessions, vendors: below and over the bars

  const layer = (order, work) => ({
    zOrder: () => order,
    renderer: () => ({
      draw: target => target.useBitmapCoordinateSpace(({context, bitmapSize, horizontalPixelRatio: wide, verticalPixelRatio: high}) => {
        const shown = scale.getVisibleLogicalRange();
        if (!shown) return;
        const spacing = scale.options().barSpacing, origin = scale.logicalToCoordinate(0) ?? 0, tall = bitmapSize.height;
        const edge = at => (origin + (at - 0.5) * spacing) * wide;
        const box = (from, to, colour, top = 0, hatch = "") => {
          if (to < shown.from - 1 || from > shown.to + 1) return;
          const left = Math.max(0, edge(from)), right = Math.max(Math.min(bitmapSize.width, edge(to)), left + 1.5 * wide);
          context.fillStyle = paint(colour);
          context.fillRect(left, top, right - left, tall - top);
          if (!hatch) return;
          context.save();
          context.beginPath(); context.rect(left, top, right - left, tall); context.clip();
          context.strokeStyle = paint(hatch); context.globalAlpha = 0.5; context.lineWidth = wide;
          context.beginPath();
          for (let x = left - tall; x < right; x += 8 * wide) context.moveTo(x, tall), context.lineTo(x + tall, 0);
          context.stroke();
          context.restore();
        };
        const line = (at, colour) => {
          context.fillStyle = paint(colour);
          if (at >= shown.from - 1 && at <= shown.to + 1) context.fillRect(Math.round(edge(at)), 0, Math.max(1, Math.floor(wide)), tall);
        };
        // The first text that has room from one place to another, at the top of what is in sight of both.
        const name = (from, to, texts) => {
          const left = Math.max(0, edge(from)) + 4 * wide, right = Math.min(bitmapSize.width, edge(to)) - 4 * wide;
          context.font = `${11 * high}px system-ui, sans-serif`;
          const text = texts.find(one => context.measureText(one).width <= right - left);
          if (!text) return;
          context.fillStyle = paint("faint");
          context.strokeStyle = paint("paper");  // a line of the grid ends beside it
          context.lineWidth = 4 * high;
          context.strokeText(text, left, 12 * high);
          context.fillText(text, left, 12 * high);
        };
        const dot = (at, price, colour) => {
          if (at < shown.from || at > shown.to) return;
          context.fillStyle = colour;
          context.beginPath();
          context.arc((edge(at) + edge(at + 1)) / 2, first.priceToCoordinate(price) * high, 2 * high, 0, 7);
          context.fill();
        };
        const arrow = (at, up, colour) => {
          if (at < shown.from || at > shown.to) return;
          const x = (edge(at) + edge(at + 1)) / 2, y = up ? 0 : tall, down = (up ? 10 : -10) * high;
          context.fillStyle = colour;
          context.beginPath(); context.moveTo(x, y); context.lineTo(x - 5 * wide, y + down); context.lineTo(x + 5 * wide, y + down);
          context.fill();
        };
        work({box, line, name, dot, arrow, spacing, shown, bottom: tall - 5 * high});
      }),
    }),
  });
  const days = data.is_daily ? [] : [0, ...data.sessions, count];
  const date = at => { const day = new Date(times[at] * 1000); return [`${day.getUTCDate()} ${months[day.getUTCMonth()]}`, `${day.getUTCDate()}`]; };
  const runs = [];  // of bars from one vendor, broken where no bar is
  if (hued > 1) bars.vendor.forEach((code, at) => {
    const run = runs[runs.length - 1];
    if (code >= 0) run && run[1] === at && run[2] === code && !gone[0].has(at - 1) ? run[1]++ : runs.push([at, at + 1, code]);
  });
  const under = layer("bottom", ({box, line, spacing}) => {
    if (single) for (const gap of data.gaps) box(...gap.place, "gap", 0, "gap-name");
    if (data.sessions.length > 1 && spacing * count / data.sessions.length > 24) for (const at of data.sessions) line(at, "line");
    for (const mark of data.marks) if (mark.kind === "split") line(mark.at + 0.5, "split");
  });
  // Over the volume, whose columns would cut the ribbon to pieces, and over the lines of the grid.
  const over = layer("top", ({box, name, dot, arrow, spacing, shown, bottom}) => {
    for (const [from, to, vendor] of runs) box(from, to, `hue-${vendor % 20}`, bottom);
    // Each day has its date: its beginning may be out of sight, and the axis has no room for all of them.
    if (spacing * count / days.length > 12) for (let n = 1; n < days.length; n++) if (days[n] >= shown.from && days[n - 1] <= shown.to) name(days[n - 1], days[n], date(days[n - 1]));
    series.forEach((one, at) => { for (const place of one.outside) arrow(place, one.close[place] > highest, hue(at)); });
    if (!bars) lone.forEach((places, at) => { for (const place of places) dot(place, series[at].close[place], hue(at)); });
  });
  first.attachPrimitive({paneViews: () => [under, over], updateAllViews: () => {}});
  const signs = {
    split: ["aboveBar", "square", "■ split"], dividend: ["belowBar", "circle", "● dividend"], doubt: ["aboveBar", "circle", "! doubtful bar"],
    buy: ["belowBar", "arrowUp", "▲ buy"], sell: ["aboveBar", "arrowDown", "▼ sale"], note: ["aboveBar", "circle", "● note"],
  };
  const flags = () => data.marks.map(mark => ({
    time: times[mark.at], position: signs[mark.kind][0], shape: signs[mark.kind][1], color: paint(mark.kind),
    text: mark.kind === "doubt" ? "!" : mark.kind === "split" ? mark.text : "",  // longer ones would cover the bars; they are in the line above, and below in the table
  }));
  const flagged = single && data.marks.length ? library.createSeriesMarkers(first, flags()) : null;
  const meaning = (text, colour) => { const one = document.createElement("li"); one.textContent = text; one.style.color = `var(--p-${colour})`; return one; };
  legend.append(
    ...Object.keys(signs).filter(kind => data.marks.some(mark => mark.kind === kind)).map(kind => meaning(signs[kind][2], kind)),
    ...(data.gaps.length ? [meaning(single ? "▨ gap: bars are missing" : "a line is broken at its gaps", "gap-name")] : []),
    ...(bars?.pale.length ? [meaning("pale: may still change", "faint")] : []),
    ...(hued > 1 ? bars.vendors.map((vendor, at) => meaning(`■ ${vendor}`, `hue-${at % 20}`)) : []),
  );

  // --- what is in sight

  const show = (from, to) => {
    const see = () => scale.setVisibleLogicalRange({from: from - 0.5, to: to + 0.5});
    see(); requestAnimationFrame(see);  // once more when the labels of prices have their new width
  };
  const told_range = () => {
    const shown = scale.getVisibleLogicalRange();
    if (!shown) return;
    const [from, to] = [Math.round(shown.from + 0.5), Math.round(shown.to + 0.5)], left = Math.max(0, Math.min(count - 1, from));
    place.dataset.shown = `${from} ${to}`;
    const hidden = filled.findIndex(at => at >= left);
    earlier.textContent = `${written(times[left])} to ${written(times[Math.max(0, Math.min(count, to) - 1)])}`
      + (hidden > 0 ? `  ◂ ${volumes.format(hidden)} earlier, from ${written(times[0])}: drag, or press All` : "");
  };
  scale.subscribeVisibleLogicalRangeChange(told_range);
  // A range that has all columns, or hardly one, is none to choose.
  const back = (months, days) => {
    const last = new Date(times[count - 1] * 1000);
    last.setUTCMonth(last.getUTCMonth() - months, last.getUTCDate() - days);
    return times.findIndex(time => time > last.getTime() / 1000);
  };
  let at = -1, told_at = -1;  // the bar that the arrow keys are on, as a place among the filled ones; the column in the line above
  const press = (name, work) => {
    const button = document.createElement("button");
    button.type = "button"; button.textContent = name;
    button.addEventListener("click", () => { work(button); at = -1; });
    bar.append(button);
    return button;
  };
  for (const [name, [months, days]] of Object.entries({"1D": [0, 1], "1W": [0, 7], "1M": [1, 0], "6M": [6, 0], "1Y": [12, 0]})) {
    const from = back(months, days);
    if (from > 0 && count - from > 2 && !(days && data.is_daily)) press(name, () => show(from, count - 1));
  }
  press("All", () => show(0, count - 1));
  const modes = {Log: 1, "%": 2}, scales = {};
  if (positive) for (const name of Object.keys(modes)) {
    scales[name] = press(name, () => {
      const mode = chart.priceScale("right").options().mode === modes[name] ? 0 : modes[name];
      chart.priceScale("right").applyOptions({mode});
      for (const one of Object.keys(modes)) scales[one].setAttribute("aria-pressed", mode === modes[one]);
    });
    scales[name].setAttribute("aria-pressed", "false");
    scales[name].title = name === "%" ? "changes since the first bar in sight" : "logarithmic scale";
  }
  press("PNG", () => save()).title = "save a picture of what is shown";
  bar.hidden = false;

  // --- the values at the pointer, or at the bar that the arrow keys are on

  // The name of a line (`at` is its place) hides it, and shows it again.
  const value = (name, text, hue = -1, at = -1) => {
    const one = document.createElement(at < 0 ? "span" : "button"), label = document.createElement("small");
    if (hue >= 0) one.append(document.createElement("i")), one.firstChild.style.background = `var(--p-hue-${hue % 20})`;
    if (at >= 0) one.type = "button", one.dataset.line = at, one.title = "hide or show this line", one.setAttribute("aria-pressed", lines[at].options().visible);
    label.textContent = name;
    one.append(...(name ? [label, " "] : []), text);
    return one;
  };
  const number = (values, at) => values[at] === null ? "–" : prices.format(values[at]);
  const told = index => {
    const parts = [value("", moment(index))];
    if (!single) series.forEach((one, at) => parts.push(value([one.symbol, ...(one.since ? [`from ${one.since}`] : []), ...(one.until ? [`until ${one.until}`] : [])].join(" "), number(one.close, index), at, at)));
    else if (single.close[index] !== null) {
      for (const name of ["open", "high", "low", "close"]) if (single[name]) parts.push(value(name, number(single[name], index)));
      if (bars && bars.volume[index] !== null) parts.push(value("volume", volumes.format(bars.volume[index])));
      const vendor = bars?.vendor?.[index] ?? -1;
      if (vendor >= 0) parts.push(value("from", bars.vendors[vendor], hued > 1 ? vendor : -1));
      if (bars?.pale.includes(index)) parts.push(value("", "may still change"));
    }
    data.lines.forEach((one, at) => { parts.push(value(one.name, number(one.values, index), at + hued, at)); });
    for (const mark of data.marks) if (mark.at === index) parts.push(value(mark.kind === "doubt" ? "!" : mark.kind, mark.text));
    for (const gap of data.gaps) if (gap.place[0] <= index && index < gap.place[1]) parts.push(value(single ? "gap:" : `gap of ${gap.symbol}:`, gap.reason));
    return parts.flatMap(part => [part, " "]);
  };
  const said = index => out.replaceChildren(...told(told_at = index));
  said(newest);
  out.addEventListener("click", event => {
    const place = event.target.closest("button")?.dataset.line;
    if (!place) return;
    lines[place].applyOptions({visible: !lines[place].options().visible});
    said(told_at);
    out.querySelector(`[data-line="${place}"]`).focus();
  });

  // --- a picture of what is shown: the title, the values, the chart

  const save = () => {
    const shot = chart.takeScreenshot(true), paper = document.createElement("canvas"), pen = paper.getContext("2d");
    const wide = place.clientWidth, ratio = shot.width / wide, edge = 12, font = "14px system-ui, sans-serif";
    const texts = [...out.children].filter(one => one.getAttribute("aria-pressed") !== "false");
    let x = 0, y = 58;
    pen.font = font;
    const places = texts.map(one => {
      const width = pen.measureText(one.textContent).width + (one.querySelector("i") ? 28 : 14);
      if (x && x + width > wide) x = 0, y += 20;
      return [(x += width) - width, y];
    });
    paper.width = shot.width + 2 * edge * ratio;
    paper.height = shot.height + (y + 2 * edge + 8) * ratio;
    pen.fillStyle = paint("paper"); pen.fillRect(0, 0, paper.width, paper.height);
    pen.scale(ratio, ratio); pen.translate(edge, edge);
    const write = (text, font, colour, x, y) => { pen.font = font; pen.fillStyle = paint(colour); pen.fillText(text, x, y, wide - x); };
    write(data.title, "600 18px system-ui, sans-serif", "ink", 0, 14);
    write(data.about, "13px system-ui, sans-serif", "faint", 0, 36);
    texts.forEach((one, n) => {
      const [x, y] = places[n], dot = one.querySelector("i");
      if (dot) pen.fillStyle = getComputedStyle(dot).backgroundColor, pen.beginPath(), pen.arc(x + 5, y - 5, 5, 0, 7), pen.fill();
      write(one.textContent, font, "ink", x + (dot ? 14 : 0), y);
    });
    pen.drawImage(shot, 0, y + 8, wide, shot.height / ratio);
    paper.toBlob(blob => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob); link.download = `${data.title}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    });
  };

  chart.subscribeCrosshairMove(move => said(Math.max(0, Math.min(count - 1, Math.round(move.logical ?? newest)))));
  const walk = step => {
    at = Math.max(0, Math.min(filled.length - 1, at < 0 ? filled.length - 1 : at + step));
    const index = filled[at], shown = scale.getVisibleLogicalRange();
    if (shown && (index < shown.from || index > shown.to)) {
      const half = (shown.to - shown.from) / 2;
      scale.setVisibleLogicalRange({from: index - half, to: index + half});
    }
    const one = series.findIndex(one => one.close[index] !== null);
    chart.setCrosshairPosition(series[one].close[index], times[index], candles || lines[one]);
    said(index);
  };
  const zoom = share => {
    const shown = scale.getVisibleLogicalRange();
    if (!shown) return;
    const middle = at < 0 ? shown.to : filled[at];
    scale.setVisibleLogicalRange({from: middle - (middle - shown.from) * share, to: middle + (shown.to - middle) * share});
  };
  const keys = {ArrowLeft: () => walk(-1), ArrowRight: () => walk(1), "+": () => zoom(0.7), "=": () => zoom(0.7), "-": () => zoom(1 / 0.7),
    Home: () => show(0, Math.min(count - 1, 100)), End: () => scale.scrollToRealTime(), Escape: () => { at = -1; chart.clearCrosshairPosition(); }};
  place.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    keys[event.key](); event.preventDefault();
  });

  // --- the first look: the newest bars, as many as have room; a page whose colours change

  const room = Math.floor(place.clientWidth / 6);
  show(count <= 2 * room ? 0 : count - room, count - 1);
  requestAnimationFrame(() => { told_range(); place.dataset.ready = "yes"; });
  for (const media of ["(prefers-color-scheme: dark)", "print"]) matchMedia(media).addEventListener("change", () => {
    colours = new Map();
    chart.applyOptions(looks()); draw(); flagged?.setMarkers(flags());
  });
};
// The rest of the page is painted first: the place of a chart is kept, so that nothing moves when it is drawn.
for (const box of document.querySelectorAll("[data-chart]")) {
  const source = document.getElementById(box.dataset.chart), data = source && JSON.parse(source.textContent);
  if (!data?.is_live || !globalThis.LightweightCharts) continue;
  box.classList.add("live");
  box.querySelector(".ranges").hidden = false;
  requestAnimationFrame(() => setTimeout(() => drawChart(box, data)));
}
