// Small parts that several pages share.
import {
  Alert,
  Badge,
  Box,
  Button,
  Code,
  EmptyState,
  Field,
  HStack,
  Input,
  Link,
  NativeSelect,
  Stack,
  Text,
} from "@chakra-ui/react";
import type { UseQueryResult } from "@tanstack/react-query";
import { type ReactNode, useEffect, useState } from "react";
import { Link as RouterLink } from "react-router-dom";
import { useNow, words } from "./queries";
import type { JobRow, WorkerState } from "./schema";
import { ago, STATES } from "./words";

export function StateBadge({ state }: { state: WorkerState }) {
  const { label, palette, meaning } = STATES[state] ?? { label: state, palette: "gray", meaning: "" };
  return (
    <Badge colorPalette={palette} title={meaning} variant="surface" whiteSpace="nowrap">
      {label}
    </Badge>
  );
}

export function Notice({
  status,
  title,
  children,
}: {
  status: "error" | "warning" | "info";
  title?: string;
  children: ReactNode;
}) {
  return (
    <Alert.Root role={status === "error" ? "alert" : "status"} status={status}>
      <Alert.Indicator />
      <Alert.Content>
        {title ? <Alert.Title>{title}</Alert.Title> : null}
        <Alert.Description overflowWrap="anywhere">{children}</Alert.Description>
      </Alert.Content>
    </Alert.Root>
  );
}

// Why the data is not current and how old it is, or nothing.
export function Staleness({ problem, asOf }: { problem: string | null; asOf: number }) {
  const now = useNow();
  if (!problem) return null;
  return (
    <Notice status="warning" title={asOf ? `Shown is the state of ${ago(asOf, now)}` : undefined}>
      {problem}
    </Notice>
  );
}

// What a query has: its data (also old data, with a warning), an error in words, or a sign that it loads.
export function Loaded<T>({ query, children }: { query: UseQueryResult<T>; children: (data: T) => ReactNode }) {
  if (query.data !== undefined) {
    return (
      <Stack gap={3}>
        <Staleness asOf={query.dataUpdatedAt} problem={query.error ? words(query.error) : null} />
        {children(query.data)}
      </Stack>
    );
  }
  if (query.error) return <Notice status="error">{words(query.error)}</Notice>;
  return (
    <Text color="fg.muted" role="status">
      Loading …
    </Text>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <EmptyState.Root size="sm">
      <EmptyState.Content>
        <EmptyState.Title>{title}</EmptyState.Title>
        <EmptyState.Description>{children}</EmptyState.Description>
      </EmptyState.Content>
    </EmptyState.Root>
  );
}

export function TextFilter({
  label,
  value,
  onChange,
}: {
  label: string;
  value: string;
  onChange: (value: string) => void;
}) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  useEffect(() => {
    if (text === value) return undefined;
    const timer = setTimeout(() => onChange(text.trim()), 300);
    return () => clearTimeout(timer);
  }, [text, value, onChange]);
  return (
    <Field.Root maxW="14rem">
      <Field.Label fontSize="xs">{label}</Field.Label>
      <Input onChange={(event) => setText(event.target.value)} size="sm" type="search" value={text} />
    </Field.Root>
  );
}

export interface Choice {
  value: string;
  label: string;
}

export function SelectFilter(props: {
  label: string;
  value: string;
  choices: Choice[];
  all?: string;
  onChange: (value: string) => void;
}) {
  return (
    <Field.Root maxW="14rem">
      <Field.Label fontSize="xs">{props.label}</Field.Label>
      <NativeSelect.Root size="sm">
        <NativeSelect.Field onChange={(event) => props.onChange(event.currentTarget.value)} value={props.value}>
          {props.all ? <option value="">{props.all}</option> : null}
          {props.choices.map((choice) => (
            <option key={choice.value} value={choice.value}>
              {choice.label}
            </option>
          ))}
        </NativeSelect.Field>
        <NativeSelect.Indicator />
      </NativeSelect.Root>
    </Field.Root>
  );
}

export function Meter({ label, value, total }: { label: string; value: number; total: number }) {
  const share = total > 0 ? Math.min(1, value / total) : 0;
  return (
    <HStack gap={2} minW="5.5rem">
      <Box
        aria-label={label}
        aria-valuemax={total}
        aria-valuemin={0}
        aria-valuenow={value}
        bg="bg.emphasized"
        flex="1"
        h="0.5rem"
        overflow="hidden"
        role="meter"
        rounded="full"
      >
        <Box bg={share >= 1 ? "orange.solid" : "blue.solid"} h="full" w={`${share * 100}%`} />
      </Box>
      <Text fontSize="xs" fontVariantNumeric="tabular-nums" whiteSpace="nowrap">
        {value}/{total}
      </Text>
    </HStack>
  );
}

export function taskPath(job: JobRow): string {
  const mapped = job.map_index !== null && job.map_index >= 0 ? `/mapped/${job.map_index}` : "";
  const parts = [job.dag_id, job.run_id, job.task_id].map((part) => encodeURIComponent(part ?? ""));
  return `/dags/${parts[0]}/runs/${parts[1]}/tasks/${parts[2]}${mapped}?try_number=${job.try_number ?? 1}`;
}

export function TaskLink({ job }: { job: JobRow }) {
  if (job.hidden) return <Text color="fg.muted">a task of a DAG that you may not read</Text>;
  if (job.dag_id === null || job.task_id === null) return <Text color="fg.muted">callback</Text>;
  const index = job.map_index !== null && job.map_index >= 0 ? ` [${job.map_index}]` : "";
  return (
    <Link asChild colorPalette="blue" overflowWrap="anywhere" variant="underline">
      <RouterLink to={taskPath(job)}>
        {job.dag_id}.{job.task_id}
        {index}
      </RouterLink>
    </Link>
  );
}

export function WorkerLink({ name }: { name: string }) {
  return (
    <Link asChild colorPalette="blue" overflowWrap="anywhere" variant="underline">
      <RouterLink to={`/plugin/edge?worker=${encodeURIComponent(name)}`}>{name}</RouterLink>
    </Link>
  );
}

// A command as selectable text; the button is a shortcut where the browser allows it.
export function Command({ label, text }: { label: string; text: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 2000);
  };
  return (
    <Box borderWidth="1px" position="relative" rounded="md">
      <Code
        aria-label={label}
        as="pre"
        bg="bg.subtle"
        display="block"
        fontSize="xs"
        overflowX="auto"
        p={3}
        role="region"
        tabIndex={0}
        whiteSpace="pre"
      >
        {text}
      </Code>
      {navigator.clipboard ? (
        <Button
          aria-label={`Copy: ${label}`}
          onClick={copy}
          position="absolute"
          right={2}
          size="2xs"
          top={2}
          variant="surface"
        >
          {copied ? "Copied" : "Copy"}
        </Button>
      ) : null}
    </Box>
  );
}

export function Facts({ children }: { children: ReactNode }) {
  return (
    <Box as="dl" columnGap={4} display="grid" fontSize="sm" gridTemplateColumns="max-content 1fr" rowGap={1}>
      {children}
    </Box>
  );
}

export function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <>
      <Box as="dt" color="fg.muted">
        {name}
      </Box>
      <Box as="dd" overflowWrap="anywhere">
        {children}
      </Box>
    </>
  );
}

export function Pages({
  cursors,
  next,
  onTurn,
}: {
  cursors: string[];
  next: string | null | undefined;
  onTurn: (cursors: string[]) => void;
}) {
  return (
    <HStack aria-label="Pages" as="nav">
      <Button disabled={!cursors.length} onClick={() => onTurn(cursors.slice(0, -1))} size="xs" variant="outline">
        Newer
      </Button>
      <Button disabled={!next} onClick={() => next && onTurn([...cursors, next])} size="xs" variant="outline">
        Older
      </Button>
    </HStack>
  );
}
