// What surrounds each page: the cache, and an error boundary, so that a mistake here does not blank Airflow's page.
import { QueryClientProvider } from "@tanstack/react-query";
import { Component, type ReactNode } from "react";
import { Notice } from "./parts";
import { client } from "./queries";

class Boundary extends Component<{ children: ReactNode }, { failed: boolean }> {
  state = { failed: false };

  static getDerivedStateFromError() {
    return { failed: true };
  }

  render() {
    if (this.state.failed) return <Notice status="error">This part of the page failed. Reload the page.</Notice>;
    return this.props.children;
  }
}

export function Root({ children }: { children: ReactNode }) {
  return (
    <QueryClientProvider client={client}>
      <Boundary>{children}</Boundary>
    </QueryClientProvider>
  );
}
