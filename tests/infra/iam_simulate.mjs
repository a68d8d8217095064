// Answers [{policies, trust, action, resource, context, principal}, ...] on stdin with ["Allowed" | "ImplicitlyDenied" | ...].
// With `trust` (a resource policy) both sides are asked, as for sts:AssumeRole.
import { runSimulation } from '@cloud-copilot/iam-simulate';
import { readFileSync } from 'node:fs';

const { account, calls } = JSON.parse(readFileSync(0, 'utf8'));
const answers = [];
for (const call of calls) {
  const answer = await runSimulation(
    {
      request: {
        principal: call.principal,
        action: call.action,
        resource: { resource: call.resource, accountId: account },
        contextVariables: call.context,
      },
      identityPolicies: call.policies,
      resourcePolicy: call.trust ?? undefined,
      serviceControlPolicies: [],
      resourceControlPolicies: [],
    },
    {},
  );
  answers.push(answer.overallResult ?? answer.resultType ?? answer.analysis?.result ?? JSON.stringify(answer.errors ?? answer));
}
console.log(JSON.stringify(answers));
