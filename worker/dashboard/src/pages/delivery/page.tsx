// What goes out: messages on their way, and events to webhooks.
import { Page } from "../../parts/page";
import { route, to } from "../../state/route";
import { can } from "../../state/session";
import { Outbox } from "./outbox";
import { WebhookPage } from "./webhook";
import { Webhooks } from "./webhooks";

export function DeliveryPage() {
  const [, part, id] = route.value;
  const isWebhooks = part === "webhooks";
  if (isWebhooks && id) return <WebhookPage key={id} id={id} />;
  return (
    <Page title="Delivery">
      <nav class="tabs" aria-label="Of what">
        <a href={to("delivery")} aria-current={!isWebhooks ? "page" : undefined}>
          Outbox
        </a>
        {can("control") && (
          <a href={to("delivery", "webhooks")} aria-current={isWebhooks ? "page" : undefined}>
            Webhooks
          </a>
        )}
      </nav>
      {isWebhooks ? <Webhooks /> : <Outbox />}
    </Page>
  );
}
