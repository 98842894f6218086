"""The operator: a fleet of edge workers as Kubernetes objects (`EdgeWorker`, `EdgeWorkerPool`).

Layers, each of which imports only what is below it: handlers (watch events to the cache) -> reconcile (one object at a
time) -> desired (pure decisions), kube (the apiserver), fleet (the edge API's admin API) -> api (the objects' types).
"""
