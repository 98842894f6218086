// Adds a worker: asks what for, creates a join token, shows the commands, and waits until the worker connects.
import {
  Button,
  chakra,
  Field,
  Heading,
  HStack,
  Input,
  RadioCard,
  Spinner,
  Stack,
  Table,
  Text,
} from "@chakra-ui/react";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { write } from "./backend";
import { Command, Loaded, Notice, SelectFilter, StateBadge, WorkerLink } from "./parts";
import { refresh, useFleet, useTokens, words } from "./queries";
import { KINDS, type Kind, nameFor, steps } from "./recipes";
import type { Session, TokenCreated } from "./schema";
import { age, time } from "./words";
import { queueNames } from "./workers/actions";

const NAME = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/;
const PATTERN = /^[A-Za-z0-9._*?[\]-]{1,253}$/;
const VALIDITY = [
  { value: "3600", label: "1 hour" },
  { value: "86400", label: "1 day" },
  { value: "604800", label: "7 days" },
];

interface Wanted {
  kind: Kind;
  pattern: string;
  queues: string;
  team: string;
  expires: string;
}

// The token is kept in this component and nowhere else: not in the address, not in the cache.
interface Made {
  wanted: Wanted;
  token: TokenCreated | null;
  known: ReadonlySet<string>;
}

export function mistakeIn(wanted: Wanted, teams: string[] | null): string | null {
  const pattern = wanted.pattern.trim();
  if (!pattern) return "Name the worker, or give a pattern such as plant-*.";
  if (wanted.kind === "kubernetes" && !NAME.test(pattern)) return "Give the worker's full name.";
  if (!NAME.test(pattern) && !(PATTERN.test(pattern) && /[*?[]/.test(pattern)))
    return "A name has letters, digits, '.', '_' and '-', and begins and ends with a letter or digit; a pattern also has * or ?.";
  if (teams !== null && !wanted.team) return "Choose one of your teams.";
  return null;
}

export function AddWorkerTab({ who }: { who: Session }) {
  const fleet = useFleet();
  const [made, setMade] = useState<Made | null>(null);
  const [wanted, setWanted] = useState<Wanted>({
    kind: "systemd",
    pattern: "",
    queues: "",
    team: "",
    expires: "86400",
  });
  const [tried, setTried] = useState(false);
  const wrong = mistakeIn(wanted, who.teams);
  const mint = useMutation({
    mutationFn: async (): Promise<TokenCreated | null> => {
      if (wanted.kind === "kubernetes") return null;
      const queues = queueNames(wanted.queues);
      return write<TokenCreated>("POST", "tokens", {
        worker_pattern: wanted.pattern.trim(),
        queues: queues.length ? queues : null,
        team: wanted.team.trim() || null,
        uses: NAME.test(wanted.pattern.trim()) ? 1 : null,
        expires_s: Number(wanted.expires),
      });
    },
    onSuccess: (token) => {
      setMade({ wanted, token, known: online(fleet.data?.workers.values() ?? []) });
      refresh();
      // The mutation cache would keep the answer.
      mint.reset();
    },
    gcTime: 0,
  });
  if (made) {
    return <Instructions made={made} onAgain={() => setMade(null)} who={who} />;
  }
  const field = (name: "pattern" | "queues" | "team") => ({
    value: wanted[name],
    onChange: (event: { target: { value: string } }) => setWanted({ ...wanted, [name]: event.target.value }),
  });
  return (
    <Stack gap={8} maxW="48rem">
      <chakra.form
        display="flex"
        flexDirection="column"
        gap={4}
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          setTried(true);
          if (!wrong && !mint.isPending) mint.mutate();
        }}
      >
        <RadioCard.Root
          onValueChange={({ value }) => setWanted({ ...wanted, kind: value as Kind })}
          size="sm"
          value={wanted.kind}
        >
          <RadioCard.Label>Where will it run?</RadioCard.Label>
          <HStack align="stretch" flexWrap="wrap">
            {(Object.keys(KINDS) as Kind[]).map((kind) => (
              <RadioCard.Item flexBasis="11rem" key={kind} value={kind}>
                <RadioCard.ItemHiddenInput />
                <RadioCard.ItemControl>
                  <RadioCard.ItemContent>
                    <RadioCard.ItemText>{KINDS[kind].label}</RadioCard.ItemText>
                    <RadioCard.ItemDescription>{KINDS[kind].when}</RadioCard.ItemDescription>
                  </RadioCard.ItemContent>
                  <RadioCard.ItemIndicator />
                </RadioCard.ItemControl>
              </RadioCard.Item>
            ))}
          </HStack>
        </RadioCard.Root>
        <Field.Root invalid={tried && wrong !== null} required>
          <Field.Label>
            Name or pattern <Field.RequiredIndicator />
          </Field.Label>
          <Input autoComplete="off" placeholder="plant-7" {...field("pattern")} />
          <Field.HelperText>With a pattern such as plant-*, any number of workers can use the token.</Field.HelperText>
          <Field.ErrorText>{wrong}</Field.ErrorText>
        </Field.Root>
        <Field.Root>
          <Field.Label>Queues</Field.Label>
          <Input autoComplete="off" placeholder="default" {...field("queues")} />
          <Field.HelperText>Separated by commas. Empty: any queue that the worker asks for.</Field.HelperText>
        </Field.Root>
        {who.teams === null ? (
          <Field.Root>
            <Field.Label>Team</Field.Label>
            <Input autoComplete="off" {...field("team")} />
            <Field.HelperText>Empty: it runs tasks of no team.</Field.HelperText>
          </Field.Root>
        ) : (
          <SelectFilter
            all="Choose …"
            choices={who.teams.map((value) => ({ value, label: value }))}
            label="Team"
            onChange={(team) => setWanted({ ...wanted, team })}
            value={wanted.team}
          />
        )}
        {wanted.kind === "kubernetes" ? null : (
          <SelectFilter
            choices={VALIDITY}
            label="The token is valid for"
            onChange={(expires) => setWanted({ ...wanted, expires })}
            value={wanted.expires}
          />
        )}
        {mint.error ? <Notice status="error">{words(mint.error)}</Notice> : null}
        <Button alignSelf="start" colorPalette="blue" loading={mint.isPending} type="submit">
          {wanted.kind === "kubernetes" ? "Show the commands" : "Create a join token"}
        </Button>
      </chakra.form>
      <OpenTokens />
    </Stack>
  );
}

function online(workers: Iterable<{ name: string; state: string }>): Set<string> {
  return new Set(
    [...workers].filter((each) => each.state === "idle" || each.state === "running").map((each) => each.name),
  );
}

function matches(pattern: string, name: string): boolean {
  const expression = pattern
    .replace(/[.+^${}()|\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  try {
    return new RegExp(`^${expression}$`).test(name);
  } catch {
    return false;
  }
}

function Instructions({ made, who, onAgain }: { made: Made; who: Session; onAgain: () => void }) {
  const fleet = useFleet();
  const { kind, pattern, queues } = made.wanted;
  const url = who.sites_url ?? "https://EDGE-API";
  const fresh = [...(fleet.data?.workers.values() ?? [])].filter(
    (worker) => matches(pattern.trim(), worker.name) && !made.known.has(worker.name),
  );
  return (
    <Stack gap={4} maxW="60rem">
      {made.token ? (
        <Stack gap={1}>
          <Heading as="h2" size="sm">
            The join token
          </Heading>
          <Text fontSize="sm">
            It is shown only now. Whoever has it can add a worker until {time(made.token.expires_at)}: give it to nobody
            else.
          </Text>
          <Command label="Join token" text={made.token.token} />
        </Stack>
      ) : null}
      {who.sites_url || kind === "kubernetes" ? null : (
        <Notice status="warning">
          Airflow does not know the URL that sites call: replace https://EDGE-API below, or set [edge] api_url for the
          api-server.
        </Notice>
      )}
      {steps(kind, { name: nameFor(pattern.trim()), url, queues: queueNames(queues) }).map((step) => (
        <Stack gap={1} key={step.title}>
          <Text fontSize="sm">{step.title}</Text>
          <Command label={step.title} text={step.text} />
        </Stack>
      ))}
      <Stack aria-live="polite" gap={2}>
        {fresh.length ? (
          fresh.map((worker) => (
            <HStack key={worker.name}>
              <Text>Connected:</Text>
              <WorkerLink name={worker.name} />
              <StateBadge state={worker.state} />
            </HStack>
          ))
        ) : (
          <HStack>
            <Spinner size="sm" />
            <Text>Waiting for the worker to connect …</Text>
          </HStack>
        )}
      </Stack>
      <Button alignSelf="start" onClick={onAgain} variant="outline">
        Add another one
      </Button>
    </Stack>
  );
}

function OpenTokens() {
  const tokens = useTokens(true);
  const revoke = useMutation({
    mutationFn: (id: string) => write("DELETE", `tokens/${encodeURIComponent(id)}`),
    onSuccess: refresh,
  });
  return (
    <Loaded query={tokens}>
      {(data) => {
        const now = Date.now();
        const open = data.items.filter(
          (token) => token.revoked_at === null && token.uses_left !== 0 && Date.parse(token.expires_at) > now,
        );
        if (!open.length) return null;
        return (
          <Stack gap={2}>
            <Heading as="h2" size="sm">
              Join tokens that can be used
            </Heading>
            {revoke.error ? <Notice status="error">{words(revoke.error)}</Notice> : null}
            <Table.ScrollArea borderWidth="1px" rounded="md">
              <Table.Root aria-label="Join tokens" size="sm">
                <Table.Header>
                  <Table.Row>
                    <Table.ColumnHeader>For</Table.ColumnHeader>
                    <Table.ColumnHeader>Queues</Table.ColumnHeader>
                    <Table.ColumnHeader>Expires in</Table.ColumnHeader>
                    <Table.ColumnHeader>Uses left</Table.ColumnHeader>
                    <Table.ColumnHeader />
                  </Table.Row>
                </Table.Header>
                <Table.Body>
                  {open.map((token) => (
                    <Table.Row key={token.id}>
                      <Table.Cell overflowWrap="anywhere">{token.worker_pattern}</Table.Cell>
                      <Table.Cell overflowWrap="anywhere">{token.queues?.join(", ") ?? "any"}</Table.Cell>
                      <Table.Cell>{age((Date.parse(token.expires_at) - now) / 1000)}</Table.Cell>
                      <Table.Cell>{token.uses_left ?? "any number"}</Table.Cell>
                      <Table.Cell textAlign="end">
                        <Button
                          aria-label={`Revoke the token for ${token.worker_pattern}`}
                          colorPalette="red"
                          onClick={() => revoke.mutate(token.id)}
                          size="2xs"
                          variant="outline"
                        >
                          Revoke
                        </Button>
                      </Table.Cell>
                    </Table.Row>
                  ))}
                </Table.Body>
              </Table.Root>
            </Table.ScrollArea>
          </Stack>
        );
      }}
    </Loaded>
  );
}
