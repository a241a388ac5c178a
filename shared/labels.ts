// Every label, annotation and name that Fairlead writes into a cluster.

/** Field manager of everything the agent applies. */
export const FIELD_MANAGER = 'fairlead'

/** On every object the agent applies; what the watches select by. */
export const MANAGED_BY_LABEL = 'app.kubernetes.io/managed-by'
/** Value of MANAGED_BY_LABEL. */
export const MANAGED_BY = 'fairlead'
/** On every object: the application that owns it. */
export const APPLICATION_LABEL = 'fairlead.dev/application'
/** Annotation: an integer that orders objects of one application; smaller first, default 0. */
export const WAVE_ANNOTATION = 'fairlead.dev/wave'
/** Annotation `disabled`: never delete this object. */
export const PRUNE_ANNOTATION = 'fairlead.dev/prune'
/** Annotation `true`: keep what people add to this object. */
export const MERGE_ANNOTATION = 'fairlead.dev/merge'
/** Annotation: `true`, the object is left alone as a whole; else a comma-separated list of fields that are left to others. */
export const IGNORE_ANNOTATION = 'fairlead.dev/ignore'
/** Annotation `true`: when a field that cannot be changed is changed in Git, delete the object and make it anew. */
export const RECREATE_ANNOTATION = 'fairlead.dev/recreate'
/** Annotation on a Job: pre-sync, post-sync or sync-fail. It runs once for each revision. */
export const HOOK_ANNOTATION = 'fairlead.dev/hook'
/** Annotation `true`: written before the pre-sync hooks of its revision run, as these need it. */
export const BEFORE_HOOKS_ANNOTATION = 'fairlead.dev/before-hooks'
/** Annotation that the agent puts on the Job of a hook: which run of it this is. */
export const HOOK_RUN_ANNOTATION = 'fairlead.dev/hook-run'
