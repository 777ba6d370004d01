// Publishes the events of events.json with the CloudEvents SDK for JavaScript, in every HTTP mode that it has.
//
// Called with a URL and the folder of the SDK; prints what came of each as JSON: id, what the SDK's own transport says,
// and whether it rejected.

const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const [url, installed] = process.argv.slice(2);
const { CloudEvent, emitterFor, httpTransport, HTTP, Mode } = require(join(installed, "node_modules", "cloudevents"));

const events = JSON.parse(readFileSync(join(__dirname, "events.json"), "utf8"));
const modes = { binary: Mode.BINARY, structured: Mode.STRUCTURED };

async function main() {
  const results = [];
  for (const [name, mode] of Object.entries(modes)) {
    const emit = emitterFor(httpTransport(url), { binding: HTTP, mode });
    for (const { data, text, base64, ...attributes } of events) {
      const id = `js-${name}-${attributes.id}`;
      const bytes = base64 === undefined ? undefined : Uint8Array.from(Buffer.from(base64, "base64"));
      try {
        const answer = await emit(new CloudEvent({ ...attributes, id, data: data ?? text ?? bytes }));
        results.push({ id, raised: false, body: answer.body });
      } catch (error) {
        results.push({ id, raised: true, body: String(error) });
      }
    }
  }
  console.log(JSON.stringify(results));
}

main().then(() => process.exit(0));
