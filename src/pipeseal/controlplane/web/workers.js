// Starting workers: the only scripts besides the page's own modules, from a closed list of addresses.

const ADDRESSES = { log: "/web/log/worker.js", trust: "/web/trust/worker.js" };

// https://www.w3.org/TR/trusted-types/: the content security policy allows this one policy, and it lets through nothing
// but what stands above. Browsers without trusted types have the rest of the content security policy.
const policy = globalThis.trustedTypes?.createPolicy("pipeseal-workers", {
  createScriptURL(name) {
    if (!Object.hasOwn(ADDRESSES, name)) throw new TypeError(`there is no worker called ${name}`);
    return ADDRESSES[name];
  },
});

/** A worker of the page, by its name. */
export function startWorker(name) {
  return new Worker(policy ? policy.createScriptURL(name) : ADDRESSES[name], { type: "module", name });
}
