import { SpanStatusCode, type Attributes } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import type { Observer } from '../observation.js';

export interface Traces {
  readonly observe: Observer;
  /** Sends the spans that have not been sent yet. */
  close(): Promise<void>;
}

/**
 * Sends a span for each observation that took time: requests, statements, batches, runs of the closer. The exporter,
 * the sampler and the batch processor read their own OTEL_* variables. Spans have no parents, because a batch joins
 * many requests. The attribute `request` is the id that the log lines of a request contain.
 */
export function createTraces(): Traces {
  const resource = resourceFromAttributes({ 'service.name': 'footsteps' });
  const provider = new NodeTracerProvider({
    resource: defaultResource()
      .merge(resource)
      .merge(detectResources({ detectors: [envDetector] })),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
  });
  const tracer = provider.getTracer('footsteps');
  return {
    observe(observation) {
      if (!('milliseconds' in observation)) return;
      const { kind, milliseconds, ...facts } = observation;
      const end = Date.now();
      const attributes: Attributes = {};
      for (const [name, value] of Object.entries(facts)) {
        if (typeof value === 'string' || typeof value === 'number') attributes[`footsteps.${name}`] = value;
      }
      const span = tracer.startSpan(kind === 'statement' ? observation.name : kind, {
        startTime: end - milliseconds,
        attributes,
      });
      if (kind === 'request.finished' && observation.outcome.startsWith('5'))
        span.setStatus({ code: SpanStatusCode.ERROR });
      span.end(end);
    },
    close: () => provider.shutdown(),
  };
}
