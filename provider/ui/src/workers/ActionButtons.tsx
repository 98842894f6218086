// The actions that fit the chosen workers.
import { Button, HStack, Text } from "@chakra-ui/react";
import { useState } from "react";
import type { WorkerView } from "../schema";
import { ActionDialog } from "./ActionDialog";
import { ACTION_LIST, type Action } from "./actions";

export function ActionButtons({
  workers,
  label,
  onDone,
}: {
  workers: WorkerView[];
  label: string;
  onDone?: () => void;
}) {
  const [open, setOpen] = useState<{ action: Action; workers: WorkerView[] } | null>(null);
  const offered = ACTION_LIST.map((action) => ({ action, fitting: workers.filter(action.fits) })).filter(
    ({ fitting }) => fitting.length,
  );
  const close = () => {
    setOpen(null);
    onDone?.();
  };
  return (
    <>
      <HStack aria-label={label} flexWrap="wrap" gap={1} role="group">
        {offered.map(({ action, fitting }) => (
          <Button
            colorPalette={action.danger ? "red" : undefined}
            key={action.key}
            onClick={() => setOpen({ action, workers: fitting })}
            size="xs"
            variant="outline"
          >
            {action.label}
            {fitting.length < workers.length ? <Text as="span">({fitting.length})</Text> : null}
          </Button>
        ))}
      </HStack>
      {open ? <ActionDialog action={open.action} onClose={close} workers={open.workers} /> : null}
    </>
  );
}
