// How the cluster is, at a glance: all accounts owned and connected, or not.
import { Page } from "../../parts/page";
import { Loading } from "../../parts/notice";
import { accounts, isLoaded, trouble, workers } from "../../state/cluster";
import { Figures } from "./figures";
import { Timeline } from "./timeline";
import { Unowned } from "./unowned";
import { Workers } from "./workers";

export function ClusterPage() {
  if (!isLoaded.value && workers.value.length === 0) {
    return (
      <Page title="Cluster">{trouble.value ? null : <Loading what="accounts and workers" />}</Page>
    );
  }
  return (
    <Page title="Cluster">
      <Figures />
      <Unowned accounts={accounts.value} />
      <div class="cluster">
        <Workers />
        <Timeline />
      </div>
    </Page>
  );
}
