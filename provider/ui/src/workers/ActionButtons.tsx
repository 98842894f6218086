// The actions that fit the chosen workers, and the dialog of the one that was asked for.
import { Button, HStack, Text } from "@chakra-ui/react";
import { useState } from "react";
import type { WorkerView } from "../schema";
import { ActionDialog } from "./ActionDialog";
import { ACTION_LIST, type Action } from "./actions";

interface Asked {
  action: Action;
  workers: WorkerView[];
}

// The dialog is apart from the buttons: it stays and says so when its workers disappear meanwhile.
export function useActions() {
  const [asked, ask] = useState<Asked | null>(null);
  const dialog = asked ? (
    <ActionDialog action={asked.action} onClose={() => ask(null)} workers={asked.workers} />
  ) : null;
  return { ask, dialog };
}

export function ActionButtons({
  workers,
  label,
  ask,
}: {
  workers: WorkerView[];
  label: string;
  ask: (asked: Asked) => void;
}) {
  const offered = ACTION_LIST.map((action) => ({ action, fitting: workers.filter(action.fits) })).filter(
    ({ fitting }) => fitting.length,
  );
  return (
    <HStack aria-label={label} flexWrap="wrap" gap={1} role="group">
      {offered.map(({ action, fitting }) => (
        <Button
          colorPalette={action.danger ? "red" : undefined}
          key={action.key}
          onClick={() => ask({ action, workers: fitting })}
          size="xs"
          variant="outline"
        >
          {action.label}
          {fitting.length < workers.length ? <Text as="span">({fitting.length})</Text> : null}
        </Button>
      ))}
    </HStack>
  );
}
