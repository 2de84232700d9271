import { useEffect, useEffectEvent, useRef, useState, type ReactNode } from 'react';
import UPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { count, formatClock, formatDay, formatNumber, formatShort } from './format';
import type { TimeInterval } from './generated/graphql';
import { PlainTable } from './plain-table';
import { useTheme } from './theme';
import { midnight, zoneNow } from './zone';

const HEIGHT = 260;
const FONT = '12px system-ui, sans-serif';
/** The space between the labels of the vertical axis and the chart. Pixels. */
const GAP = 6;
/** A bar and the gap beside it take at least this; narrower ones look like hairlines, so an area is drawn. Pixels. */
const NARROWEST = 8;
/** The steps between the lines of the chart: 1, 2, 5, 10, and so on. */
const INCREMENTS = Array.from({ length: 15 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();

const ruler = document.createElement('canvas').getContext('2d')!;

/** The width that the vertical axis needs for its labels, in pixels. */
function widthFor(labels: readonly string[]): number {
  ruler.font = FONT;
  return Math.ceil(Math.max(24, ...labels.map((label) => ruler.measureText(label).width))) + GAP + 8;
}

const bars = UPlot.paths.bars!({ size: [0.72, 48], radius: 0.12 });
const area = UPlot.paths.linear!();

/** Draws bars where they have room, else an area. */
const barsOrArea: UPlot.Series.PathBuilder = (plot, ...rest) =>
  (plot.bbox.width / devicePixelRatio / plot.data[0].length < NARROWEST ? area : bars)(plot, ...rest);

/** The sessions and users of one interval. `at` is its start, ISO 8601. */
interface ChartPoint {
  readonly at: string;
  readonly sessions: number;
  readonly users: number;
}

/** The name of an interval: 3 Nov for days and longer, 14:05 for shorter ones; with `whole`, 3 Nov, 14:05. */
function nameOf(at: Date, interval: TimeInterval, whole: boolean): string {
  if (interval === 'DAY' || interval === 'MONTH' || interval === 'WEEK') return formatDay(at);
  return whole ? `${formatDay(at)}, ${formatClock(at)}` : formatClock(at);
}

const columnsOf = (points: readonly ChartPoint[]): UPlot.AlignedData => [
  points.map(({ at }) => Date.parse(at) / 1_000),
  points.map(({ sessions }) => sessions),
  points.map(({ users }) => users),
];

/** Half the length of an interval, in seconds. */
function halfOf({ data: [times] }: UPlot): number {
  const [first, second] = times;
  return first === undefined || second === undefined ? 1_800 : (second - first) / 2;
}

interface ChartProps {
  readonly points: readonly ChartPoint[];
  readonly interval: TimeInterval;
  readonly onZoom: (from: number, to: number) => void;
}

function Plot({ points, interval, onZoom }: ChartProps): ReactNode {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot>(null);
  const [pointed, setPointed] = useState<number | null>(null);
  const zoom = useEffectEvent(onZoom);
  const shown = useEffectEvent(() => columnsOf(points));

  useEffect(() => {
    const element = box.current!;
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string): string => style.getPropertyValue(`--${name}`).trim();
    const axis: UPlot.Axis = {
      stroke: colour('text-muted'),
      font: FONT,
      grid: { stroke: colour('line'), width: 1 },
      ticks: { show: false },
    };
    const isDays = interval === 'DAY' || interval === 'MONTH' || interval === 'WEEK';
    const chart = new UPlot(
      {
        width: element.clientWidth,
        height: HEIGHT,
        // The lines of the chart stand at full hours and days of the zone.
        tzDate: (seconds) => UPlot.tzDate(new Date(seconds * 1_000), zoneNow()),
        padding: [12, 8, 0, 0],
        legend: { show: false },
        cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 7 }, y: false },
        // The first and the last bar need half a bar of room.
        scales: {
          x: { range: (plot, low, high) => [low - halfOf(plot), high + halfOf(plot)] },
          y: { range: (_plot, _low, high) => [0, Math.max(4, Math.ceil(high * 1.1))] },
        },
        axes: [
          {
            ...axis,
            grid: { show: false },
            size: 32,
            space: 64,
            values: (_plot, splits) =>
              splits.map((split) => {
                const at = new Date(split * 1_000);
                return isDays || midnight(at.getTime(), 0) === at.getTime() ? formatDay(at) : formatClock(at);
              }),
          },
          {
            ...axis,
            size: (_plot, labels) => widthFor(labels ?? []),
            gap: GAP,
            incrs: INCREMENTS,
            values: (_plot, splits) => splits.map(formatShort),
          },
        ],
        series: [
          {},
          {
            label: 'Sessions',
            fill: colour('bar'),
            width: 0,
            paths: barsOrArea,
            points: { show: false },
          },
          { label: 'Users', stroke: colour('second'), width: 2, points: { show: false } },
        ],
        hooks: {
          setCursor: [(u) => setPointed(u.cursor.idx ?? null)],
          setSelect: [
            (u) => {
              if (u.select.width < 4) return;
              const from = u.posToVal(u.select.left, 'x') * 1_000;
              const to = u.posToVal(u.select.left + u.select.width, 'x') * 1_000;
              u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
              zoom(
                Math.round(from / 60_000) * 60_000,
                Math.max(Math.round(to / 60_000), Math.round(from / 60_000) + 1) * 60_000,
              );
            },
          ],
        },
      },
      shown(),
      element,
    );
    plot.current = chart;
    const observer = new ResizeObserver(() => {
      if (element.clientWidth !== chart.width) chart.setSize({ width: element.clientWidth, height: HEIGHT });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      chart.destroy();
      plot.current = null;
    };
  }, [interval]);

  useEffect(() => {
    plot.current?.setData(columnsOf(points));
  }, [points]);

  const point = pointed === null ? undefined : points[pointed];
  const sum = points.reduce((total, { sessions }) => total + sessions, 0);
  return (
    <div className="chart">
      <div className="chart-legend">
        <span className="legend-key sessions">Sessions{point && <b>{formatNumber(point.sessions)}</b>}</span>
        <span className="legend-key users">Users{point && <b>{formatNumber(point.users)}</b>}</span>
        <span className={point ? 'muted chart-hint' : 'muted chart-hint is-idle'}>
          {point ? nameOf(new Date(point.at), interval, true) : 'Hover for details, drag to zoom'}
        </span>
      </div>
      <div
        ref={box}
        className="chart-box"
        role="img"
        aria-label={`Sessions and users over time: ${count(sum, 'session')} in ${count(points.length, 'interval')}. A table follows.`}
      />
      <details className="chart-table">
        <summary>Show as table</summary>
        <PlainTable label="Chart data" columns={['From', 'Sessions', 'Users']}>
          {points
            .filter(({ sessions }) => sessions > 0)
            .map(({ at, sessions, users }) => (
              <tr key={at}>
                <th scope="row">{nameOf(new Date(at), interval, true)}</th>
                <td>{formatNumber(sessions)}</td>
                <td>{formatNumber(users)}</td>
              </tr>
            ))}
        </PlainTable>
      </details>
    </div>
  );
}

/** A chart of sessions and users over time. Hovering shows one interval, dragging zooms in. A new theme redraws it. */
export const Chart = (props: ChartProps): ReactNode => <Plot key={useTheme()} {...props} />;
