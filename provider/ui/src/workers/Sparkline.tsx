// How something went in the last hour, as a small line; the numbers are there as text, too.
import { chakra, HStack, Text } from "@chakra-ui/react";
import type { WorkerSample } from "../schema";

const WIDTH = 200;
const HEIGHT = 28;
const HOUR_MS = 3_600_000;

interface Props {
  label: string;
  samples: WorkerSample[];
  value: (sample: WorkerSample) => number | null;
  // The end of the scale; else the largest value.
  top?: number;
  unit?: string;
}

export function Sparkline({ label, samples, value, top, unit = "" }: Props) {
  const found = samples.flatMap((sample) => {
    const y = value(sample);
    return y === null ? [] : [{ x: Date.parse(sample.at), y }];
  });
  const last = found.at(-1);
  if (!last) return null;
  const most = Math.max(...found.map(({ y }) => y));
  const scale = top ?? Math.max(most, 1);
  const points = found
    .map(
      ({ x, y }) =>
        `${(WIDTH * (1 - (last.x - x) / HOUR_MS)).toFixed(1)},${(HEIGHT - 1 - (HEIGHT - 2) * Math.min(1, y / scale)).toFixed(1)}`,
    )
    .join(" ");
  const show = (y: number) => `${y.toLocaleString("en", { maximumFractionDigits: 1 })}${unit}`;
  return (
    <HStack fontSize="sm" gap={3}>
      <Text color="fg.muted" w="5.5rem">
        {label}
      </Text>
      <chakra.svg
        aria-label={`${label} in the last hour: now ${show(last.y)}, at most ${show(most)}`}
        color="blue.solid"
        flex="1"
        h={`${HEIGHT}px`}
        maxW={`${WIDTH}px`}
        preserveAspectRatio="none"
        role="img"
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      >
        <polyline
          fill="none"
          points={points}
          stroke="currentColor"
          strokeWidth="1.5"
          vectorEffect="non-scaling-stroke"
        />
      </chakra.svg>
      <Text fontVariantNumeric="tabular-nums" whiteSpace="nowrap">
        {show(last.y)} (max {show(most)})
      </Text>
    </HStack>
  );
}
