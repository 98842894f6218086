// The live table of workers: summary, filters, selection, and the panel of one worker.
import { Badge, Box, Button, chakra, HStack, Link, Stack, Table, Text } from "@chakra-ui/react";
import { useCallback, useMemo, useState } from "react";
import { Empty, Meter, Notice, SelectFilter, Staleness, StateBadge, TextFilter } from "../parts";
import { type Fleet, useFleet, useNow, words } from "../queries";
import type { Session, WorkerView } from "../schema";
import { useSearch } from "../search";
import { age, ago, bytes, count, number, progress, reason, SOON_MS, STATES, site } from "../words";
import { ActionButtons, useActions } from "./ActionButtons";
import { GROUPS, selected, sorted } from "./select";
import { buttonOf, WorkerPanel } from "./WorkerPanel";

const PAGE = 50;

export function WorkersTab({ who }: { who: Session }) {
  const fleet = useFleet();
  if (!fleet.data) {
    return fleet.error ? (
      <Notice status="error">{words(fleet.error)}</Notice>
    ) : (
      <Text color="fg.muted" role="status">
        Loading …
      </Text>
    );
  }
  const problem = fleet.error ? words(fleet.error) : fleet.data.problem;
  return (
    <Stack gap={3}>
      <Staleness asOf={fleet.data.asOf} problem={problem} />
      <Workers fleet={fleet.data} who={who} />
    </Stack>
  );
}

function Workers({ fleet, who }: { fleet: Fleet; who: Session }) {
  const [get, set] = useSearch();
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const all = useMemo(() => [...fleet.workers.values()], [fleet.workers]);
  const filter = { state: get("state"), queue: get("queue"), team: get("team"), text: get("text") };
  const sort = get("sort") || "name";
  const found = sorted(selected(all, filter), sort);
  const pages = Math.max(1, Math.ceil(found.length / PAGE));
  const page = Math.min(Math.max(1, Number(get("page")) || 1), pages);
  const shown = found.slice((page - 1) * PAGE, page * PAGE);
  const chosenWorkers = found.filter((worker) => chosen.has(worker.name));
  const queues = useMemo(() => [...new Set(all.flatMap((worker) => worker.queues))].sort(), [all]);
  const teams = useMemo(() => [...new Set(all.flatMap((worker) => (worker.team ? [worker.team] : [])))].sort(), [all]);
  const setText = useCallback((text: string) => set({ text, page: null }), [set]);
  const { ask, dialog } = useActions();
  const open = get("worker");

  if (!all.length) {
    return (
      <Empty title="No worker yet">
        {who.may_mint ? (
          <Button onClick={() => set({ tab: "add" }, false)} size="sm">
            Add a worker
          </Button>
        ) : (
          "Ask an administrator of Airflow to add one."
        )}
      </Empty>
    );
  }
  const choose = (names: string[], on: boolean) => {
    const next = new Set(chosen);
    for (const name of names) {
      if (on) next.add(name);
      else next.delete(name);
    }
    setChosen(next);
  };
  const sortBy = (key: string) => set({ sort: sort === key ? `-${key}` : key, page: null });
  return (
    <Stack gap={3}>
      <Summary onState={(state) => set({ state, page: null })} state={filter.state} workers={all} />
      <HStack alignItems="end" flexWrap="wrap" gap={2} role="search">
        <TextFilter label="Find" onChange={setText} value={filter.text} />
        <SelectFilter
          all="All states"
          choices={[
            ...Object.entries(GROUPS).map(([value, { label }]) => ({ value, label: `All ${label}` })),
            ...Object.entries(STATES).map(([value, { label }]) => ({ value, label })),
          ]}
          label="State"
          onChange={(state) => set({ state, page: null })}
          value={filter.state}
        />
        <SelectFilter
          all="All queues"
          choices={queues.map((value) => ({ value, label: value }))}
          label="Queue"
          onChange={(queue) => set({ queue, page: null })}
          value={filter.queue}
        />
        {teams.length ? (
          <SelectFilter
            all="All teams"
            choices={teams.map((value) => ({ value, label: value }))}
            label="Team"
            onChange={(team) => set({ team, page: null })}
            value={filter.team}
          />
        ) : null}
      </HStack>
      {who.may_act && chosenWorkers.length ? (
        <Box bg="bg.subtle" borderWidth="1px" p={2} rounded="md">
          <HStack flexWrap="wrap">
            <Text fontSize="sm" role="status">
              {count(chosenWorkers.length, "worker")} selected
            </Text>
            {chosenWorkers.length < found.length ? (
              <Button
                onClick={() =>
                  choose(
                    found.map((worker) => worker.name),
                    true,
                  )
                }
                size="2xs"
                variant="ghost"
              >
                Select all {found.length}
              </Button>
            ) : null}
            <Button onClick={() => setChosen(new Set())} size="2xs" variant="ghost">
              Clear
            </Button>
            <ActionButtons ask={ask} label="Actions on the selected workers" workers={chosenWorkers} />
          </HStack>
        </Box>
      ) : null}
      {found.length ? (
        <Table.ScrollArea borderWidth="1px" rounded="md">
          <Table.Root aria-label="Workers" interactive size="sm">
            <Table.Header>
              <Table.Row>
                {who.may_act ? (
                  <Table.ColumnHeader w="2rem">
                    <Pick
                      checked={shown.every((worker) => chosen.has(worker.name))}
                      label="Select all workers of this page"
                      onChange={(on) =>
                        choose(
                          shown.map((worker) => worker.name),
                          on,
                        )
                      }
                    />
                  </Table.ColumnHeader>
                ) : null}
                <Sortable label="Worker" name="name" onSort={sortBy} sort={sort} />
                <Sortable label="State" name="state" onSort={sortBy} sort={sort} />
                <Table.ColumnHeader hideBelow="md">Queues</Table.ColumnHeader>
                <Sortable label="Slots" name="slots" onSort={sortBy} sort={sort} />
                <Sortable hideBelow="lg" label="Load" name="load" onSort={sortBy} sort={sort} />
                <Sortable hideBelow="lg" label="Version" name="version" onSort={sortBy} sort={sort} />
                <Sortable hideBelow="md" label="Last contact" name="contact" onSort={sortBy} sort={sort} />
              </Table.Row>
            </Table.Header>
            <Table.Body>
              {shown.map((worker) => (
                <WorkerRow
                  chosen={chosen.has(worker.name)}
                  key={worker.name}
                  onChoose={who.may_act ? (on) => choose([worker.name], on) : undefined}
                  onOpen={() => set({ worker: worker.name }, false)}
                  worker={worker}
                />
              ))}
            </Table.Body>
          </Table.Root>
        </Table.ScrollArea>
      ) : (
        <Empty title="No worker fits the filters">
          <Button onClick={() => set({ state: null, queue: null, team: null, text: null })} size="sm" variant="outline">
            Show all {all.length}
          </Button>
        </Empty>
      )}
      {pages > 1 ? (
        <HStack aria-label="Pages" as="nav">
          <Button disabled={page <= 1} onClick={() => set({ page: String(page - 1) })} size="xs" variant="outline">
            Previous
          </Button>
          <Text fontSize="sm">
            Page {page} of {pages} ({count(found.length, "worker")})
          </Text>
          <Button disabled={page >= pages} onClick={() => set({ page: String(page + 1) })} size="xs" variant="outline">
            Next
          </Button>
        </HStack>
      ) : null}
      {dialog}
      {open ? (
        <WorkerPanel live={fleet.workers.get(open)} name={open} onClose={() => set({ worker: null })} who={who} />
      ) : null}
    </Stack>
  );
}

function Summary({
  workers,
  state,
  onState,
}: {
  workers: WorkerView[];
  state: string;
  onState: (state: string) => void;
}) {
  const counts = new Map<string, number>();
  for (const worker of workers) counts.set(worker.state, (counts.get(worker.state) ?? 0) + 1);
  const used = workers.reduce((sum, worker) => sum + worker.slots_used, 0);
  const free = workers.reduce((sum, worker) => sum + worker.slots_free, 0);
  return (
    <HStack aria-label="Summary" flexWrap="wrap" gap={2} role="group">
      <Text fontWeight="semibold">{count(workers.length, "worker")}:</Text>
      {Object.entries(STATES)
        .filter(([name]) => counts.has(name))
        .map(([name, { label, palette }]) => (
          <Button
            aria-pressed={state === name}
            colorPalette={palette}
            key={name}
            onClick={() => onState(state === name ? "" : name)}
            size="2xs"
            variant={state === name ? "solid" : "surface"}
          >
            {counts.get(name)} {label.toLowerCase()}
          </Button>
        ))}
      <Text color="fg.muted" fontSize="sm">
        {count(used, "slot")} used, {free} free
      </Text>
    </HStack>
  );
}

function Sortable(props: {
  name: string;
  label: string;
  sort: string;
  hideBelow?: "md" | "lg";
  onSort: (name: string) => void;
}) {
  const { name, label, sort, hideBelow, onSort } = props;
  const here = sort.replace("-", "") === name;
  const direction = sort.startsWith("-") ? "descending" : "ascending";
  return (
    <Table.ColumnHeader aria-sort={here ? direction : "none"} hideBelow={hideBelow}>
      <Button fontWeight="semibold" minW={0} onClick={() => onSort(name)} px={0} size="xs" variant="plain">
        {label}
        <Text aria-hidden as="span">
          {here ? (direction === "ascending" ? "▲" : "▼") : ""}
        </Text>
      </Button>
    </Table.ColumnHeader>
  );
}

// The browser's own: fifty of Chakra's, each with a state machine, would delay the table.
function Pick({ label, checked, onChange }: { label: string; checked: boolean; onChange: (on: boolean) => void }) {
  return (
    <chakra.input
      accentColor="blue.solid"
      aria-label={label}
      checked={checked}
      onChange={(event) => onChange(event.currentTarget.checked)}
      type="checkbox"
    />
  );
}

function WorkerRow(props: {
  worker: WorkerView;
  chosen: boolean;
  onChoose?: (on: boolean) => void;
  onOpen: () => void;
}) {
  const { worker, chosen, onChoose, onOpen } = props;
  const why = reason(worker);
  const drains = progress(worker);
  return (
    <Table.Row data-state={worker.state}>
      {onChoose ? (
        <Table.Cell>
          <Pick checked={chosen} label={`Select ${worker.name}`} onChange={onChoose} />
        </Table.Cell>
      ) : null}
      <Table.Cell maxW="20rem">
        <Link
          as="button"
          colorPalette="blue"
          fontWeight="medium"
          id={buttonOf(worker.name)}
          onClick={onOpen}
          overflowWrap="anywhere"
          textAlign="start"
          variant="underline"
        >
          {worker.name}
        </Link>
        {site(worker) ? (
          <Text color="fg.muted" fontSize="xs" overflowWrap="anywhere">
            {site(worker)}
          </Text>
        ) : null}
        {worker.team ? (
          <Text color="fg.muted" fontSize="xs">
            team {worker.team}
          </Text>
        ) : null}
        <Expiry moment={worker.credential_expires_at} />
        {why ? (
          <Text color="fg.muted" fontSize="xs" lineClamp={2} overflowWrap="anywhere" title={why}>
            {why}
          </Text>
        ) : null}
      </Table.Cell>
      <Table.Cell>
        <StateBadge state={worker.state} />
        {drains ? (
          <Text fontSize="xs" mt={1}>
            {drains}
          </Text>
        ) : null}
      </Table.Cell>
      <Table.Cell hideBelow="md">
        <HStack flexWrap="wrap" gap={1} maxW="16rem">
          {worker.queues.slice(0, 6).map((queue) => (
            <Badge key={queue} maxW="14rem" truncate variant="outline">
              {queue === "*" ? "any queue" : queue}
            </Badge>
          ))}
          {worker.queues.length > 6 ? <Text fontSize="xs">+{worker.queues.length - 6}</Text> : null}
        </HStack>
      </Table.Cell>
      <Table.Cell>
        <Meter label={`Slots of ${worker.name}`} total={worker.concurrency} value={worker.slots_used} />
      </Table.Cell>
      <Table.Cell fontSize="xs" hideBelow="lg" whiteSpace="nowrap">
        <Load worker={worker} />
      </Table.Cell>
      <Table.Cell fontSize="xs" hideBelow="lg">
        {worker.protocol === 1 ? "edge3 worker (v1)" : (worker.versions.worker ?? "–")}
      </Table.Cell>
      <Table.Cell fontSize="xs" hideBelow="md" whiteSpace="nowrap">
        <Contact moment={worker.last_heartbeat} />
      </Table.Cell>
    </Table.Row>
  );
}

// An agent renews its credential long before it expires; where it does not, somebody must look.
function Expiry({ moment }: { moment?: string | null }) {
  const left = !moment ? Number.POSITIVE_INFINITY : Date.parse(moment) - Date.now();
  if (left > SOON_MS) return null;
  return (
    <Text color="fg.warning" fontSize="xs">
      {left > 0 ? `credential expires in ${age(left / 1000)}` : "credential has expired"}
    </Text>
  );
}

// Its own clock, so that a second does not draw the whole table again.
function Contact({ moment }: { moment: string }) {
  return ago(moment, useNow());
}

function Load({ worker }: { worker: WorkerView }) {
  const { cpu_percent, memory_percent, disk_free_bytes, load1 } = worker.sysinfo;
  const parts = [
    number(cpu_percent) === null ? null : `CPU ${Math.round(Number(cpu_percent))} %`,
    number(memory_percent) === null ? null : `mem ${Math.round(Number(memory_percent))} %`,
    number(load1) === null ? null : `load ${Number(load1).toFixed(1)}`,
    number(disk_free_bytes) === null ? null : `${bytes(Number(disk_free_bytes))} free`,
  ].filter(Boolean);
  return parts.length ? <Text lineHeight="short">{parts.join(" · ")}</Text> : "–";
}
