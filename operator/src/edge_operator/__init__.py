"""The operator: a fleet of edge workers as Kubernetes objects (`EdgeWorker`, `EdgeWorkerPool`).

Layers, each of which knows only what is below it: handlers (watch events to keys) -> reconcile (one key at a time) ->
desired (pure decisions), kube (the apiserver), fleet (the edge API's admin calls) -> api (the objects' own types).
"""
