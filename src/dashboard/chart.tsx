import { useEffect, useEffectEvent, useRef, useState, type ReactNode } from 'react';
import UPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { formatClock, formatDay, formatNumber } from './format';
import type { TimeInterval } from './generated/graphql';
import { useTheme } from './theme';

const HEIGHT = 260;

/** Sessions and users of one interval. */
interface ChartPoint {
  readonly at: string;
  readonly sessions: number;
  readonly users: number;
}

/** The words for an interval: 14:05, or 3 Nov. */
function nameOf(at: Date, interval: TimeInterval, whole: boolean): string {
  if (interval === 'DAY' || interval === 'MONTH' || interval === 'WEEK') return formatDay(at);
  return whole ? `${formatDay(at)}, ${formatClock(at)}` : formatClock(at);
}

const columnsOf = (points: readonly ChartPoint[]): UPlot.AlignedData => [
  points.map(({ at }) => Date.parse(at) / 1_000),
  points.map(({ sessions }) => sessions),
  points.map(({ users }) => users),
];

/** Half an interval, in the chart's seconds. */
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
      font: '12px system-ui, sans-serif',
      grid: { stroke: colour('line'), width: 1 },
      ticks: { show: false },
    };
    const isDays = interval === 'DAY' || interval === 'MONTH' || interval === 'WEEK';
    const chart = new UPlot(
      {
        width: element.clientWidth,
        height: HEIGHT,
        padding: [12, 8, 0, 0],
        legend: { show: false },
        cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 7 }, y: false },
        // Room for half a bar at either end.
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
                const midnight = at.getHours() === 0 && at.getMinutes() === 0;
                return isDays || midnight ? formatDay(at) : formatClock(at);
              }),
          },
          {
            ...axis,
            size: 44,
            gap: 6,
            incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6],
            values: (_plot, splits) => splits.map(formatNumber),
          },
        ],
        series: [
          {},
          {
            label: 'Sessions',
            fill: colour('bar'),
            width: 0,
            paths: UPlot.paths.bars!({ size: [0.72, 48], radius: 0.12 }),
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
        <span className="muted chart-hint">
          {point ? nameOf(new Date(point.at), interval, true) : 'Point for figures, drag to zoom'}
        </span>
      </div>
      <div
        ref={box}
        className="chart-box"
        role="img"
        aria-label={`Sessions and users over time: ${sum} sessions in ${points.length} intervals. The figures follow as a table.`}
      />
      <details className="chart-table">
        <summary>Figures as a table</summary>
        <div className="scroll" tabIndex={0} role="region" aria-label="Figures of the chart">
          <table>
            <thead>
              <tr>
                <th scope="col">From</th>
                <th scope="col">Sessions</th>
                <th scope="col">Users</th>
              </tr>
            </thead>
            <tbody>
              {points
                .filter(({ sessions }) => sessions > 0)
                .map(({ at, sessions, users }) => (
                  <tr key={at}>
                    <th scope="row">{nameOf(new Date(at), interval, true)}</th>
                    <td>{formatNumber(sessions)}</td>
                    <td>{formatNumber(users)}</td>
                  </tr>
                ))}
            </tbody>
          </table>
        </div>
      </details>
    </div>
  );
}

/** Sessions and users over time: point at it for figures, drag to look closer. Drawn anew in another theme. */
export const Chart = (props: ChartProps): ReactNode => <Plot key={useTheme()} {...props} />;
