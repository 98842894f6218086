// The commands that bring a new worker up. None of them has the token as an argument, which other users of the host
// could read, or writes it into the shell's history: they take it from stdin or a file.
export type Kind = "systemd" | "compose" | "command" | "kubernetes";

export const KINDS: Record<Kind, { label: string; when: string }> = {
  systemd: { label: "systemd", when: "A host with systemd, as a service that starts with it" },
  compose: { label: "Compose", when: "A host with Docker or Podman" },
  command: { label: "Command line", when: "A host where edge-worker is installed" },
  kubernetes: { label: "Kubernetes", when: "A pod that the operator runs" },
};

export interface Plan {
  name: string;
  url: string;
  queues: string[];
}

export interface Step {
  title: string;
  text: string;
}

// In single quotes, nothing has a meaning for the shell.
export function quoted(text: string): string {
  return /^[A-Za-z0-9_./:,@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

export function steps(kind: Kind, { name, url, queues }: Plan): Step[] {
  const list = queues.join(",");
  const options = [`--api-url ${quoted(url)}`, `--name ${quoted(name)}`, ...(list ? [`--queues ${quoted(list)}`] : [])];
  switch (kind) {
    case "systemd":
      return [
        {
          title:
            "On the host as root, in the folder with install.sh and the wheels; paste the token, then press Ctrl-D:",
          text: `./install.sh install ${options.join(" ")} --wheels wheels --join-token-file -`,
        },
      ];
    case "compose":
      return [
        {
          title: "On the host, in the folder with compose.yaml, as root; paste the token, then press Ctrl-D:",
          text: "(umask 077; cat > join-token)\nchown 50000 join-token",
        },
        {
          title: "Then:",
          text: [
            "cat > worker.env <<'END'",
            `EDGE_WORKER_NAME=${name}`,
            `EDGE_WORKER_API_URL=${url}`,
            ...(list ? [`EDGE_WORKER_QUEUES=${list}`] : []),
            "AIRFLOW__CORE__DAGS_FOLDER=/srv/dags",
            "EDGE_WORKER_DRAIN_TIMEOUT_S=3600",
            "END",
            "mkdir -p dags",
            "docker compose up --detach --wait",
          ].join("\n"),
        },
      ];
    case "command":
      return [
        {
          title: "On the host; paste the token, then press Ctrl-D:",
          text: `edge-worker enroll ${options.join(" ")} --join-token-file -`,
        },
        { title: "Then:", text: `edge-worker run ${options.join(" ")}` },
      ];
    case "kubernetes":
      return [
        {
          title: "With kubectl, in a namespace that the operator watches. The operator creates the join token itself:",
          text: [
            "kubectl apply -f - <<'END'",
            "apiVersion: airflow-edge.io/v1alpha1",
            "kind: EdgeWorker",
            `metadata: {name: ${JSON.stringify(name)}}`,
            "spec:",
            ...(queues.length ? [`  queues: ${JSON.stringify(queues)}`] : []),
            "  concurrency: 8",
            "END",
          ].join("\n"),
        },
      ];
  }
}

// The name for the commands, where the pattern leaves it open.
export function nameFor(pattern: string): string {
  return /[*?[]/.test(pattern) ? pattern.replace(/[*?[].*$/, "1") : pattern;
}
