// Draws the data of a chart into its place: zoom, pan, ranges, log scale, the values at the pointer.
// Without it, and on paper, the picture that is in the page is shown.
const drawChart = (box, data) => {
  const [bar, out, place] = [".ranges", ".readout", ".plot"].map(name => box.querySelector(name));
  const library = globalThis.LightweightCharts;
  if (!data.is_live || !library) return;

  // --- the data: numbers are differences of whole numbers, see `decimals`

  const summed = steps => { let sum = 0; return steps.map(step => sum += step); };
  const repeated = pairs => pairs.flatMap(([value, often]) => new Array(often).fill(value));
  const times = summed(repeated(data.time)), last = data.last && repeated(data.last), count = times.length;
  const inside = (runs, at) => {  // runs ascend and do not overlap
    let low = 0, high = runs.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (runs[middle][1] <= at) low = middle + 1; else high = middle;
    }
    return runs[low] && runs[low][0] <= at ? runs[low] : null;
  };
  const decoded = one => {
    const power = 10 ** one.decimals, columns = new Array(count).fill(null), bars = repeated(one.bars || []);
    let close = 0, row = 0;
    for (const [first, end] of one.filled)
      for (let at = first; at < end; at++, row++) {
        const bar = {};
        if (one.open) {
          const open = close + one.open[row];
          close = open + one.close[row];
          bar.open = open / power;
          bar.high = (Math.max(open, close) + one.high[row]) / power;
          bar.low = (Math.min(open, close) - one.low[row]) / power;
          bar.volume = one.volume[row];
          bar.bars = bars[row];
        } else close += one.close[row];
        bar.close = close / power;
        columns[at] = bar;
      }
    return columns;
  };
  const series = data.series.map(one => ({...one, columns: decoded(one)}));
  const single = series.length === 1 ? series[0] : null;
  const filled = times.map((_, at) => at).filter(at => series.some(one => one.columns[at]));
  if (!filled.length) return;

  // --- texts

  const digits = Math.max(...series.map(one => one.decimals));
  const format_of = most => new Intl.NumberFormat("en-US", {maximumFractionDigits: most});  // made once: each frame of a zoom has dozens of numbers
  const [prices, volumes] = [format_of(Math.min(20, digits)), format_of(8)];
  const number = value => single ? prices.format(Number(value.toPrecision(10))) : value.toFixed(2);
  const clock = seconds => new Date(seconds * 1000).toISOString();
  const written = seconds => data.is_daily ? clock(seconds).slice(0, 10) : clock(seconds).slice(0, 16).replace("T", " ");
  const moment = at => written(times[at]) + (last ? ` to ${written(times[at] + last[at])}` : "");
  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const tick = (seconds, kind) => {
    const time = new Date(seconds * 1000), month = months[time.getUTCMonth()];
    if (kind === 0) return `${time.getUTCFullYear()}`;
    if (kind === 1) return month;
    return kind === 2 ? `${time.getUTCDate()} ${month}` : clock(seconds).slice(11, 16);
  };

  // --- the chart

  let colours = new Map();  // of the page's colours: each is read once, for a frame of a zoom has hundreds
  const paint = name => {
    if (!colours.has(name)) colours.set(name, getComputedStyle(box).getPropertyValue(`--p-${name}`).trim());
    return colours.get(name);
  };
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
    localization: {priceFormatter: number, timeFormatter: written},
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
  const scale = chart.timeScale(), format = {priceFormat: {type: "custom", formatter: number, minMove: single ? 10 ** -Math.min(digits, 12) : 0.01}};
  const points = (one, value) => times.map((time, at) => one.columns[at] ? {time, ...value(one.columns[at], at)} : {time});
  // A line leads from a point to the next one with a value, in the first one's colour: none, before a gap.
  const none = "transparent", parted = series.map(one => new Set(one.breaks));
  const closes = (one, at) => points(one, (bar, place) => ({value: bar.close, ...(parted[at].has(place) ? {color: none, lineColor: none, topColor: none, bottomColor: none} : {})}));
  // A bar between two gaps is a dot.
  const lone = series.map((one, at) => {
    const own = filled.filter(place => one.columns[place]);
    return own.filter((place, n) => (n === 0 || parted[at].has(own[n - 1])) && (n === own.length - 1 || parted[at].has(place)));
  });
  const broken = values => values.map((value, at) => {
    if (value === null) return false;
    let next = at + 1;
    while (next < count && values[next] === null && !single.columns[next]) next++;
    return next < count && values[next] === null;
  });
  // Where columns are a quarter of a pixel, as many as can be seen: of closes the least and the greatest of eight, of
  // volumes the greatest of four. They have a series of their own, for a frame of a zoom would draw all columns.
  const rough_closes = () => {
    const kept = new Set([filled[0], filled[filled.length - 1]]), close = place => single.columns[place].close;
    filled.forEach((place, n) => { if (parted[0].has(place)) kept.add(place).add(filled[n + 1]); });
    for (let n = 0; n < filled.length;) {
      const eight = filled[n] >> 3;
      let least = n, most = n;
      for (; n < filled.length && filled[n] >> 3 === eight; n++) {
        if (close(filled[n]) < close(filled[least])) least = n;
        if (close(filled[n]) > close(filled[most])) most = n;
      }
      kept.add(filled[least]).add(filled[most]);
    }
    return closes(single, 0).filter((_, place) => kept.has(place));
  };
  const rough_volumes = all => all.flatMap(({time}, at) => {
    const value = at % 4 ? 0 : Math.max(...all.slice(at, at + 4).map(one => one.value || 0));
    return value ? [{time, value}] : [];
  });
  let candles = null, area = null, rough_area = null, volume = null, rough_volume = null, first = null, pointed = null;  // `pointed`: the column at the pointer
  const lines = [], hues = Math.max(0, ...data.ribbon.map(run => run[2])) + 1;  // those of the vendors come first
  // The area has its points after the first look: candles come first, and no frame of a zoom waits for it.
  const area_look = () => ({lineColor: paint("hue-0"), topColor: `${paint("hue-0")}44`, bottomColor: `${paint("hue-0")}08`});
  let is_filled = false;
  const fill = () => {
    if (is_filled) return;
    is_filled = true;
    area.setData(closes(single, 0)); rough_area.setData(rough_closes());
  };
  const draw = () => {
    if (!single) {
      series.forEach((one, at) => {
        const line = lines[at] ??= chart.addSeries(library.LineSeries, {...format, lineWidth: 2, priceLineVisible: false});
        line.applyOptions({color: paint(`hue-${at % 6}`)});
        line.setData(closes(one, at));
      });
      first = lines[0];
      return;
    }
    if (single.open) candles ??= chart.addSeries(library.CandlestickSeries, format);
    area ??= chart.addSeries(library.AreaSeries, {...format, lineWidth: 1, visible: !candles});
    rough_area ??= chart.addSeries(library.AreaSeries, {...format, lineWidth: 1, visible: false, crosshairMarkerVisible: false});
    if (single.columns.some(bar => bar && bar.volume != null)) {
      const own = {priceScaleId: "volume", lastValueVisible: false, priceLineVisible: false, priceFormat: {type: "volume"}};
      volume ??= chart.addSeries(library.HistogramSeries, own);
      rough_volume ??= chart.addSeries(library.HistogramSeries, {...own, visible: false});
    }
    const [up, down] = [paint("up"), paint("down")];
    candles?.applyOptions({upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false});
    candles?.setData(points(single, (bar, at) => {
      const own = inside(single.pale, at) && paint(bar.close < bar.open ? "down-pale" : "up-pale");
      return {open: bar.open, high: bar.high, low: bar.low, close: bar.close, ...(own ? {color: own, wickColor: own} : {})};
    }));
    for (const one of [area, rough_area]) one.applyOptions(area_look());
    if (!candles) fill();
    if (volume) {
      const means = times.map((time, at) => single.columns[at]?.volume ? {time, value: single.columns[at].volume / single.columns[at].bars} : {time});
      for (const one of [volume, rough_volume]) one.applyOptions({color: paint("volume")});
      volume.setData(means);
      rough_volume.setData(rough_volumes(means));
      chart.priceScale("volume").applyOptions({scaleMargins: {top: 0.82, bottom: data.ribbon.length ? 0.015 : 0}});
      chart.priceScale("right").applyOptions({scaleMargins: {top: 0.08, bottom: 0.24}});
    }
    (data.lines || []).forEach((one, at) => {
      const line = lines[at] ??= chart.addSeries(library.LineSeries, {...format, lineWidth: 2, priceLineVisible: false, lastValueVisible: false});
      line.applyOptions({color: paint(`hue-${(at + hues) % 6}`)});
      const ends = broken(one.values);
      line.setData(times.map((time, i) => one.values[i] === null ? {time} : {time, value: one.values[i], ...(ends[i] ? {color: none} : {})}));
    });
    first = candles ?? area;
  };
  draw();

  // --- gaps, sessions, vendors: below and under the bars

  const layer = (order, work) => ({
    zOrder: () => order,
    renderer: () => ({
      draw: target => target.useBitmapCoordinateSpace(({context, bitmapSize, horizontalPixelRatio: wide, verticalPixelRatio: high}) => {
        const shown = scale.getVisibleLogicalRange();
        if (!shown) return;
        const spacing = scale.options().barSpacing, origin = scale.logicalToCoordinate(0) ?? 0;
        const edge = at => (origin + (at - 0.5) * spacing) * wide;
        const box = (from, to, colour, top = 0) => {
          if (to < shown.from - 1 || from > shown.to + 1) return;
          const left = Math.max(0, edge(from)), right = Math.min(bitmapSize.width, edge(to));
          context.fillStyle = paint(colour);
          context.fillRect(left, top, Math.max(right - left, 1.5 * wide), bitmapSize.height - top);
        };
        const line = (at, colour) => {
          context.fillStyle = paint(colour);
          if (at >= shown.from - 1 && at <= shown.to + 1)
            context.fillRect(Math.round(edge(at)), 0, Math.max(1, Math.floor(wide)), bitmapSize.height);
        };
        // The first text that has room from one place to another, at the top of what is in sight of both.
        const name = (from, to, texts) => {
          const left = Math.max(0, edge(from)) + 4 * wide, right = Math.min(bitmapSize.width, edge(to)) - 4 * wide;
          if (right <= left) return;
          context.font = `${11 * high}px system-ui, sans-serif`;
          context.fillStyle = paint("faint");
          const text = texts.find(one => context.measureText(one).width <= right - left);
          if (!text) return;
          context.strokeStyle = paint("paper");  // a line of the grid ends beside it
          context.lineWidth = 4 * high;
          context.strokeText(text, left, 12 * high);
          context.fillText(text, left, 12 * high);
        };
        const dot = (at, price, colour) => {
          if (at < shown.from || at > shown.to) return;
          context.fillStyle = paint(colour);
          context.beginPath();
          context.arc((edge(at) + edge(at + 1)) / 2, first.priceToCoordinate(price) * high, 2 * high, 0, 7);
          context.fill();
        };
        work({box, line, name, dot, spacing, shown, bottom: bitmapSize.height - 5 * high});
      }),
    }),
  });
  const days = data.is_daily ? [] : [0, ...data.sessions, count];
  const date = at => { const text = new Date(times[at] * 1000).getUTCDate(); return [`${text} ${months[new Date(times[at] * 1000).getUTCMonth()]}`, `${text}`]; };
  const under = layer("bottom", ({box, line, spacing}) => {
    for (const gap of data.gaps) box(...gap.place, "gap");
    if (data.sessions.length > 1 && spacing * count / data.sessions.length > 24) for (const at of data.sessions) line(at, "line");
    for (const mark of data.marks) if (mark.kind === "split") line(mark.at + 0.5, "split");
  });
  // Over the volume, whose columns would cut the ribbon to pieces, and over the lines of the grid.
  const over = layer("top", ({box, name, dot, spacing, shown, bottom}) => {
    for (const [from, to, vendor] of data.ribbon) box(from, to, `hue-${vendor % 6}`, bottom);
    // Each day has its date: its beginning may be out of sight, and the axis has no room for all of them.
    if (spacing * count / days.length > 12) for (let n = 1; n < days.length; n++) if (days[n] >= shown.from && days[n - 1] <= shown.to) name(days[n - 1], days[n], date(days[n - 1]));
    if (rough_area?.options().visible && pointed !== null && single.columns[pointed]) dot(pointed, single.columns[pointed].close, "hue-0");
    if (!candles?.options().visible) lone.forEach((places, at) => { for (const place of places) dot(place, series[at].columns[place].close, `hue-${at % 6}`); });
  });
  const shades = {paneViews: () => [under, over], updateAllViews: () => {}};
  first.attachPrimitive(shades);
  const shapes = {dividend: ["belowBar", "circle"], split: ["aboveBar", "square"], doubt: ["aboveBar", "circle"], buy: ["belowBar", "arrowUp"], sell: ["aboveBar", "arrowDown"], note: ["aboveBar", "circle"]};
  const signs = {buy: "up", sell: "down", note: "hue-0"};
  const flags = () => data.marks.map(mark => ({
    time: times[mark.at], position: shapes[mark.kind][0], shape: shapes[mark.kind][1], color: paint(signs[mark.kind] ?? mark.kind),
    text: mark.kind === "doubt" ? "!" : mark.kind === "split" ? mark.text : "",  // longer ones would cover the bars; they are in the line above, and below in the table
  }));
  const flagged = single && data.marks.length ? [candles, area, rough_area].filter(Boolean).map(one => library.createSeriesMarkers(one, flags())) : [];

  // --- what is in sight

  const show = (from, to) => scale.setVisibleLogicalRange({from: from - 0.5, to: to + 0.5});
  const dense = () => {
    const shown = scale.getVisibleLogicalRange();
    if (shown) place.dataset.shown = `${Math.round(shown.from + 0.5)} ${Math.round(shown.to + 0.5)}`;
    if (!single) return;
    const spacing = scale.options().barSpacing, is_dense = !candles || spacing < 3, is_rough = spacing * devicePixelRatio <= 0.25;
    const see = (one, is_seen) => { if (one && one.options().visible !== is_seen) one.applyOptions({visible: is_seen}); };
    if (is_dense) fill();
    see(candles, !is_dense); see(area, is_dense && !is_rough); see(rough_area, is_rough);
    see(volume, !is_rough); see(rough_volume, is_rough);
    if (candles) place.dataset.look = is_dense ? "area" : "candles";
  };
  scale.subscribeVisibleLogicalRangeChange(dense);
  // A range that has all columns, or hardly one, is none to choose.
  const back = (months, days) => {
    const last = new Date(times[count - 1] * 1000);
    last.setUTCMonth(last.getUTCMonth() - months, last.getUTCDate() - days);
    return times.findIndex(time => time > last.getTime() / 1000);
  };
  const spans = {"1D": [0, 1], "1W": [0, 7], "1M": [1, 0], "6M": [6, 0], "1Y": [12, 0]}, buttons = {};
  for (const [name, [months, days]] of Object.entries(spans)) {
    const from = back(months, days);
    if (from > 0 && count - from > 2 && !(days && data.is_daily)) buttons[name] = () => show(from, count - 1);
  }
  buttons.All = () => show(0, count - 1);
  const press = (name, work) => {
    const button = document.createElement("button");
    button.type = "button"; button.textContent = name;
    button.addEventListener("click", () => { work(button); at = -1; });
    bar.append(button);
    return button;
  };
  for (const [name, work] of Object.entries(buttons)) press(name, work);
  const positive = series.every(one => one.columns.every(column => !column || (column.low ?? column.close) > 0));
  if (positive) press("Log", button => {
    const is_log = chart.priceScale("right").options().mode !== 1;
    chart.priceScale("right").applyOptions({mode: is_log ? 1 : 0});
    button.setAttribute("aria-pressed", is_log);
  }).setAttribute("aria-pressed", "false");
  press("PNG", () => save()).title = "save a picture of what is shown";
  bar.hidden = false;

  // --- the values at the pointer, or at the bar that the arrow keys are on

  // The name of a line (`at` is its place) hides it, and shows it again.
  const value = (name, text, hue, at = -1) => {
    const one = document.createElement(at < 0 ? "span" : "button"), label = document.createElement("small");
    if (hue >= 0) one.append(document.createElement("i")), one.firstChild.style.background = `var(--p-hue-${hue % 6})`;
    if (at >= 0) one.type = "button", one.dataset.line = at, one.title = "hide or show this line", one.setAttribute("aria-pressed", lines[at].options().visible);
    label.textContent = name;
    one.append(...(name ? [label, " "] : []), text);
    return one;
  };
  const told = index => {
    const parts = [value("", moment(index))];
    series.forEach((one, hue) => {
      const column = one.columns[index];
      if (!single) parts.push(value(one.symbol, column ? number(column.close) : "–", hue, hue));
      if (!single || !column) return;
      for (const name of ["open", "high", "low", "close"]) if (name in column) parts.push(value(name, number(column[name])));
      if (column.volume != null) parts.push(value("volume", volumes.format(column.volume)));
      const vendor = inside(one.vendors, index), hued = data.ribbon.find(([from, to]) => from <= index && index < to);
      if (vendor) parts.push(value("from", vendor[2], hued ? hued[2] : -1));
      if (inside(one.pale, index)) parts.push(value("", "may still change"));
    });
    (data.lines || []).forEach((one, at) => { parts.push(value(one.name, one.values[index] === null ? "–" : number(one.values[index]), at + hues, at)); });
    for (const mark of data.marks) if (mark.at === index) parts.push(value(mark.kind === "doubt" ? "!" : mark.kind, mark.text));
    const gap = data.gaps.find(one => one.place[0] <= index && index < one.place[1]);
    if (gap) parts.push(value("gap:", gap.reason));
    return parts.flatMap(part => [part, " "]);
  };
  let at = -1, told_at = -1;
  const said = index => out.replaceChildren(...told(told_at = index));
  said(filled[filled.length - 1]);
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

  chart.subscribeCrosshairMove(move => {
    const index = Math.max(0, Math.min(count - 1, Math.round(move.logical ?? filled[filled.length - 1])));
    pointed = move.logical == null ? null : index;
    said(index);
  });
  const walk = step => {
    const from = at < 0 ? filled.length - 1 : at;
    at = Math.max(0, Math.min(filled.length - 1, at < 0 ? from : from + step));
    const index = filled[at], shown = scale.getVisibleLogicalRange();
    if (shown && (index < shown.from || index > shown.to)) {
      const half = (shown.to - shown.from) / 2;
      scale.setVisibleLogicalRange({from: index - half, to: index + half});
    }
    const one = series.find(one => one.columns[index]);
    chart.setCrosshairPosition(one.columns[index].close, times[index], single ? [candles, area, rough_area].find(one => one?.options().visible) : lines[series.indexOf(one)]);
    said(index);
  };
  const zoom = share => {
    const shown = scale.getVisibleLogicalRange();
    if (!shown) return;
    const middle = at < 0 ? shown.to : filled[at];
    scale.setVisibleLogicalRange({from: middle - (middle - shown.from) * share, to: middle + (shown.to - middle) * share});
  };
  place.addEventListener("keydown", event => {
    const keys = {ArrowLeft: () => walk(-1), ArrowRight: () => walk(1), "+": () => zoom(0.7), "=": () => zoom(0.7), "-": () => zoom(1 / 0.7),
      Home: () => show(0, Math.min(count - 1, 100)), End: () => scale.scrollToRealTime(), Escape: () => { at = -1; chart.clearCrosshairPosition(); }};
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    keys[event.key](); event.preventDefault();
  });

  // --- the first look: the newest bars, as many as have room; a page whose colours change

  const room = Math.floor(place.clientWidth / 6);
  show(count <= 2 * room ? 0 : count - room, count - 1);
  // The library converts the points of a series when it first draws them: what a zoom will show is drawn once before,
  // without a colour, so that no frame of the zoom has to wait for it.
  const prepare = () => {
    fill();
    const later = [area, rough_area, rough_volume].filter(one => one && !one.options().visible);
    for (const one of later) one.applyOptions({visible: true, color: none, lineVisible: false, topColor: none, bottomColor: none, lastValueVisible: false, priceLineVisible: false});
    requestAnimationFrame(() => requestAnimationFrame(() => {
      for (const one of later) one.applyOptions(one === rough_volume ? {color: paint("volume")} : {...area_look(), lineVisible: true, lastValueVisible: true, priceLineVisible: true});
      dense();
    }));
  };
  requestAnimationFrame(() => { dense(); place.dataset.ready = "yes"; if (candles) setTimeout(prepare); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    colours = new Map();
    chart.applyOptions(looks()); draw(); flagged.forEach(one => one.setMarkers(flags()));
  });
};
// The rest of the page is painted first: the place of a chart is kept, so that nothing moves when it is drawn.
for (const box of document.querySelectorAll("[data-chart]")) {
  const data = JSON.parse(document.getElementById(box.dataset.chart).textContent);
  if (!data.is_live || !globalThis.LightweightCharts) continue;
  box.classList.add("live");
  box.querySelector(".ranges").hidden = false;
  requestAnimationFrame(() => setTimeout(() => drawChart(box, data)));
}
