// The bundle that Airflow's UI loads. The host looks for each page under the name that `plugin.py` gives it, and loads
// the file once for all of them.
import { FleetPage } from "./FleetPage";
import { SummaryLine } from "./SummaryLine";
import { TaskTab } from "./TaskTab";

Object.assign(globalThis, { "Edge fleet": FleetPage, "Edge task": TaskTab, "Edge summary": SummaryLine });
