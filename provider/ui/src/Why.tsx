// The answer to "why is it not starting?".
import { Badge, List, Stack, Text } from "@chakra-ui/react";
import { Loaded, WorkerLink } from "./parts";
import { useAnswer } from "./queries";
import type { Answer } from "./schema";
import { VERDICTS } from "./words";

const SHOWN = 10;

export function Why({ job }: { job: string }) {
  const answer = useAnswer(job);
  return <Loaded query={answer}>{(data) => <WhyText answer={data} />}</Loaded>;
}

export function WhyText({ answer }: { answer: Answer }) {
  return (
    <Stack aria-live="polite" gap={2}>
      <Badge alignSelf="start" variant="surface">
        {VERDICTS[answer.verdict] ?? answer.verdict}
      </Badge>
      <Text>{answer.message}</Text>
      {answer.workers.length ? (
        <List.Root fontSize="sm" ps={4}>
          {answer.workers.slice(0, SHOWN).map((worker) => (
            <List.Item key={worker.name}>
              <WorkerLink name={worker.name} />: {worker.reasons.join(" ") || "can take it."}
            </List.Item>
          ))}
        </List.Root>
      ) : null}
      {answer.workers.length > SHOWN ? (
        <Text color="fg.muted" fontSize="sm">
          and {answer.workers.length - SHOWN} more workers
        </Text>
      ) : null}
    </Stack>
  );
}
