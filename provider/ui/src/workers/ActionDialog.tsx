// Asks before something is done to workers: says what will happen, takes a comment, and shows what did not work.
import {
  Button,
  CloseButton,
  chakra,
  Dialog,
  Field,
  Input as Line,
  List,
  Portal,
  Stack,
  Text,
  Textarea,
} from "@chakra-ui/react";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { Notice } from "../parts";
import { refresh, words } from "../queries";
import type { WorkerView } from "../schema";
import { count } from "../words";
import { type Action, type Input, mistake } from "./actions";

export function ActionDialog({
  action,
  workers,
  onClose,
}: {
  action: Action;
  workers: WorkerView[];
  onClose: () => void;
}) {
  const only = workers.length === 1 ? workers[0] : undefined;
  const [input, setInput] = useState<Input>({
    comment: action.key === "comment" ? (only?.maintenance?.comment ?? "") : "",
    slots: only?.concurrency_override?.toString() ?? "",
    add: "",
    remove: "",
  });
  const [tried, setTried] = useState(false);
  // What was asked for does not change while the dialog is open.
  const [asked] = useState(workers);
  const run = useMutation({
    mutationFn: () =>
      action.run(
        asked.map((worker) => worker.name),
        input,
      ),
    onSuccess: (results) => {
      refresh();
      if (results.every((result) => result.ok)) onClose();
    },
  });
  const wrong = mistake(action, input);
  const refused = run.data?.filter((result) => !result.ok) ?? [];
  const confirm = () => {
    setTried(true);
    if (!wrong && !run.isPending) run.mutate();
  };
  const field = (name: keyof Input) => ({
    value: input[name],
    onChange: (event: { target: { value: string } }) => setInput({ ...input, [name]: event.target.value }),
  });
  return (
    <Dialog.Root
      onOpenChange={({ open }) => (open ? undefined : onClose())}
      open
      role={action.danger ? "alertdialog" : "dialog"}
    >
      <Portal>
        <Dialog.Backdrop />
        <Dialog.Positioner>
          <Dialog.Content>
            <chakra.form
              display="contents"
              noValidate
              onSubmit={(event) => {
                event.preventDefault();
                confirm();
              }}
            >
              <Dialog.Header>
                <Dialog.Title overflowWrap="anywhere">
                  {action.label}: {only ? only.name : count(asked.length, "worker")}
                </Dialog.Title>
              </Dialog.Header>
              <Dialog.Body>
                <Stack gap={3}>
                  <Text>{action.effect(asked)}</Text>
                  {action.needs.includes("comment") ? (
                    <Field.Root invalid={tried && wrong !== null} required>
                      <Field.Label>
                        Comment <Field.RequiredIndicator />
                      </Field.Label>
                      <Textarea rows={3} {...field("comment")} />
                      <Field.ErrorText>{wrong}</Field.ErrorText>
                    </Field.Root>
                  ) : null}
                  {action.needs.includes("slots") ? (
                    <Field.Root invalid={tried && wrong !== null}>
                      <Field.Label>Slots</Field.Label>
                      <Line inputMode="numeric" {...field("slots")} />
                      <Field.ErrorText>{wrong}</Field.ErrorText>
                    </Field.Root>
                  ) : null}
                  {action.needs.includes("add") ? (
                    <>
                      <Field.Root invalid={tried && wrong !== null}>
                        <Field.Label>Queues to add</Field.Label>
                        <Line {...field("add")} />
                        <Field.HelperText>Separated by commas.</Field.HelperText>
                      </Field.Root>
                      <Field.Root invalid={tried && wrong !== null}>
                        <Field.Label>Queues to remove</Field.Label>
                        <Line {...field("remove")} />
                        <Field.ErrorText>{wrong}</Field.ErrorText>
                      </Field.Root>
                    </>
                  ) : null}
                  {run.error ? <Notice status="error">{words(run.error)}</Notice> : null}
                  {refused.length ? (
                    <Notice
                      status="error"
                      title={`${refused.length} of ${count(run.data?.length ?? 0, "worker")} refused`}
                    >
                      <List.Root maxH="12rem" overflowY="auto" ps={4}>
                        {refused.map((result) => (
                          <List.Item key={result.name}>
                            {result.name}: {result.detail}
                          </List.Item>
                        ))}
                      </List.Root>
                    </Notice>
                  ) : null}
                </Stack>
              </Dialog.Body>
              <Dialog.Footer>
                <Dialog.ActionTrigger asChild>
                  <Button variant="outline">{run.data ? "Close" : "Cancel"}</Button>
                </Dialog.ActionTrigger>
                <Button colorPalette={action.danger ? "red" : "blue"} loading={run.isPending} type="submit">
                  {action.label}
                </Button>
              </Dialog.Footer>
              <Dialog.CloseTrigger asChild>
                <CloseButton aria-label="Close" size="sm" />
              </Dialog.CloseTrigger>
            </chakra.form>
          </Dialog.Content>
        </Dialog.Positioner>
      </Portal>
    </Dialog.Root>
  );
}
