// Health of the custom resources that everybody has, as their controllers document it. Data only: condition-rule.ts says what
// the texts mean. An Application's own health rules go before these, and what is not listed is judged by its conditions.
// Every rule has samples of each state it can give in fixtures/, and a test that says which are missing.
import type { ConditionRule } from './condition-rule.ts'

/** In the order of their groups' owners; the first that fits a kind is taken. */
export const SHIPPED_RULES: readonly ConditionRule[] = [
  // cert-manager: a certificate that cannot be renewed still works until it expires.
  {
    kinds: ['cert-manager.io/Certificate'],
    degraded: [
      'Issuing=False:Failed & Ready=False',
      'Ready=False:ConfigError|IncorrectIssuer|IncorrectCertificate|Expired',
    ],
    progressing: ['Issuing=True', 'Ready=False|Unknown'],
    healthy: ['Ready=True'],
  },
  { kinds: ['cert-manager.io/Issuer ClusterIssuer'], degraded: ['Ready=False'], healthy: ['Ready=True'] },
  {
    kinds: ['cert-manager.io/CertificateRequest'],
    degraded: ['Denied=True', 'InvalidRequest=True', 'Ready=False:Failed|Denied'],
    progressing: ['Ready=False|Unknown'],
    healthy: ['Ready=True'],
  },
  {
    kinds: ['acme.cert-manager.io/Order Challenge'],
    degraded: ['.status.state=invalid|expired|errored'],
    progressing: ['.status.state=pending|processing|ready'],
    healthy: ['.status.state=valid'],
    message: ['.status.reason'],
  },
  // Argo
  {
    kinds: ['argoproj.io/Rollout'],
    degraded: [
      '.status.phase=Degraded',
      'InvalidSpec=True',
      'Progressing=False:RolloutAborted|ProgressDeadlineExceeded',
    ],
    progressing: [
      '.status.phase=Progressing',
      '.status.workloadObservedGeneration!=.metadata.annotations[rollout.argoproj.io/workload-generation]',
    ],
    suspended: ['.status.phase=Paused', '.status.pauseConditions', '.spec.paused=true'],
    healthy: ['.status.phase=Healthy'],
    message: ['.status.message'],
  },
  {
    kinds: ['argoproj.io/AnalysisRun Experiment'],
    degraded: ['.status.phase=Failed|Error'],
    progressing: ['.status.phase=Pending|Running'],
    unknown: ['.status.phase=Inconclusive'],
    healthy: ['.status.phase=Successful'],
    message: ['.status.message'],
  },
  {
    kinds: ['argoproj.io/Application'],
    degraded: ['.status.health.status=Degraded|Missing', '.status.operationState.phase=Failed|Error'],
    progressing: ['.status.health.status=Progressing', '.status.operationState.phase=Running'],
    suspended: ['.status.health.status=Suspended'],
    unknown: ['.status.health.status=Unknown'],
    healthy: ['.status.health.status=Healthy'],
    message: ['.status.health.message', '.status.operationState.message'],
  },
  {
    kinds: ['argoproj.io/ApplicationSet'],
    degraded: ['ErrorOccurred=True', 'ResourcesUpToDate=False:!ApplicationSetModified'],
    progressing: ['RolloutProgressing=True'],
    healthy: ['ResourcesUpToDate=True'],
  },
  {
    kinds: ['argoproj.io/Workflow'],
    degraded: ['.status.phase=Failed|Error'],
    progressing: ['.status.phase=Pending & !.spec.suspend'],
    suspended: ['.spec.suspend=true'],
    healthy: ['.status.phase=Succeeded'],
    message: ['.status.message', '.status.progress'],
  },
  {
    kinds: ['argoproj.io/CronWorkflow'],
    degraded: ['SubmissionError=True', 'SpecError=True'],
    suspended: ['.spec.suspend=true'],
    otherwise: 'healthy',
  },
  {
    kinds: ['argoproj.io/WorkflowTemplate ClusterWorkflowTemplate AppProject AnalysisTemplate ClusterAnalysisTemplate'],
    otherwise: 'healthy',
  },
  {
    kinds: ['argoproj.io/EventBus EventSource Sensor'],
    degraded: ['Deployed=False', 'Configured=False', 'SourcesProvided=False', 'TriggersProvided=False'],
    healthy: ['Deployed=True'],
  },
  // Flux: Stalled and Reconciling are asked for everywhere; what fails and is tried again says so by its reason.
  {
    kinds: ['*.toolkit.fluxcd.io/Alert Provider'],
    suspended: ['.spec.suspend=true'],
    degraded: ['Ready=False'],
    otherwise: 'healthy',
  },
  {
    kinds: ['*.toolkit.fluxcd.io/*'],
    degraded: ['Ready=False:!Progressing*|DependencyNotReady|*Unknown|NewArtifact'],
    progressing: ['Ready=False|Unknown & !.spec.suspend'],
    suspended: ['.spec.suspend=true'],
    healthy: ['Ready=True', '.spec.type=oci & !.status.conditions'],
  },
  {
    kinds: ['flagger.app/Canary'],
    degraded: ['.status.phase=Failed'],
    progressing: ['.status.phase=Initializing|Waiting|WaitingPromotion|Progressing|Promoting|Finalising|Terminating'],
    suspended: ['.spec.suspend=true'],
    healthy: ['.status.phase=Initialized|Succeeded'],
    message: ['.status.conditions[].message'],
  },
  // Knative: Unknown is on its way, False is final.
  {
    kinds: [
      'serving.knative.dev/Service Route Configuration Revision',
      'eventing.knative.dev/*',
      'messaging.knative.dev/*',
      'sources.knative.dev/*',
      'flows.knative.dev/*',
    ],
    degraded: ['Ready=False'],
    healthy: ['Ready=True'],
  },
  {
    kinds: ['operator.knative.dev/*'],
    degraded: ['InstallSucceeded=False', 'DependenciesInstalled=False'],
    progressing: ['Ready=False|Unknown'],
    healthy: ['Ready=True'],
  },
  // Crossplane
  {
    kinds: ['pkg.crossplane.io/*'],
    degraded: ['Installed=False:!UnpackingPackage|ActivePackageRevision*', 'Healthy=False', 'RevisionHealthy=False'],
    progressing: ['Installed=False|Unknown', 'Healthy=Unknown'],
    suspended: ['.spec.desiredState=Inactive'],
    healthy: ['Healthy=True', 'RevisionHealthy=True'],
  },
  {
    kinds: [
      'apiextensions.crossplane.io/Composition CompositionRevision EnvironmentConfig',
      '*.crossplane.io/ProviderConfig ClusterProviderConfig ProviderConfigUsage StoreConfig DeploymentRuntimeConfig ControllerConfig',
      '*.upbound.io/ProviderConfig ClusterProviderConfig ProviderConfigUsage StoreConfig',
    ],
    degraded: ['Ready=False', 'ValidPipeline=False'],
    otherwise: 'healthy',
  },
  {
    kinds: ['*.crossplane.io/*', '*.upbound.io/*'],
    degraded: ['LastAsyncOperation=False', 'Synced=False:!ReconcilePaused', 'Ready=False:Unavailable'],
    progressing: ['Ready=False:Creating|Deleting'],
    suspended: ['Synced=False:ReconcilePaused'],
    healthy: ['Ready=True', 'Offered=True', 'Established=True & !.spec.claimNames'],
  },
  // Istio: the status is only written where analysis is on.
  {
    kinds: ['networking.istio.io/*', 'security.istio.io/*', 'telemetry.istio.io/*', 'extensions.istio.io/*'],
    degraded: ['Reconciled=False', '.status.validationMessages[].level=ERROR|3', '.status.conditions/Accepted=False'],
    otherwise: 'healthy',
    message: ['.status.validationMessages[].documentationUrl', '.status.validationMessages[].type.code'],
  },
  {
    kinds: ['install.istio.io/IstioOperator'],
    degraded: ['.status.status=ERROR|ACTION_REQUIRED'],
    progressing: ['.status.status=RECONCILING|UPDATING|NONE'],
    healthy: ['.status.status=HEALTHY'],
    message: ['.status.message'],
  },
  // Gateway API
  {
    kinds: ['gateway.networking.k8s.io/GatewayClass'],
    degraded: ['Accepted=False:!Pending|Waiting', 'SupportedVersion=False'],
    healthy: ['Accepted=True'],
  },
  {
    kinds: ['gateway.networking.k8s.io/Gateway ListenerSet', 'gateway.networking.x-k8s.io/XListenerSet'],
    degraded: [
      'Accepted=False:!Pending',
      'ResolvedRefs=False',
      '.status.listeners[].conditions/ResolvedRefs=False',
      '.status.listeners[].conditions/Accepted=False',
      '.status.listeners[].conditions/Conflicted=True',
      'Programmed=False:!Pending|AddressNotAssigned|NoResources|*InProgress',
    ],
    progressing: ['Programmed=False|Unknown', '.status.listeners[].conditions/Programmed=False|Unknown'],
    healthy: ['Programmed=True'],
  },
  {
    kinds: ['gateway.networking.k8s.io/HTTPRoute GRPCRoute TLSRoute TCPRoute UDPRoute'],
    degraded: [
      '.status.parents[].conditions/Accepted=False:!Pending',
      '.status.parents[].conditions/ResolvedRefs=False',
      '.status.parents[].conditions/PartiallyInvalid=True',
    ],
    progressing: [
      '.status.parents[].conditions/Accepted=False|Unknown',
      '.status.parents[].conditions/Programmed=False|Unknown',
    ],
    healthy: ['.status.parents[].conditions/Accepted=True'],
  },
  {
    kinds: ['gateway.networking.k8s.io/BackendTLSPolicy', 'gateway.networking.x-k8s.io/XBackendTrafficPolicy'],
    degraded: [
      '.status.ancestors[].conditions/Accepted=False:!Pending',
      '.status.ancestors[].conditions/ResolvedRefs=False',
    ],
    progressing: [
      '.status.ancestors[].conditions/Accepted=False|Unknown',
      '.status.ancestors[].conditions/Accepted=stale',
    ],
    healthy: ['.status.ancestors[].conditions/Accepted=True'],
  },
  { kinds: ['gateway.networking.k8s.io/ReferenceGrant'], otherwise: 'healthy' },
  {
    kinds: ['projectcontour.io/HTTPProxy'],
    degraded: ['.status.currentStatus=invalid|orphaned'],
    progressing: ['.status.currentStatus=NotReconciled', 'Valid=stale'],
    healthy: ['.status.currentStatus=valid'],
    message: ['.status.description'],
  },
  { kinds: ['projectcontour.io/ExtensionService'], degraded: ['Valid=False'], healthy: ['Valid=True'] },
  // Prometheus operator: Available has a status of its own, Degraded. What only configures has no status before 0.84.
  {
    kinds: ['monitoring.coreos.com/Prometheus PrometheusAgent Alertmanager ThanosRuler'],
    degraded: ['Reconciled=False'],
    progressing: ['Available=False|Unknown|Degraded'],
    suspended: ['.spec.paused=true'],
    healthy: ['Available=True'],
  },
  {
    kinds: ['monitoring.coreos.com/ServiceMonitor PodMonitor Probe ScrapeConfig PrometheusRule AlertmanagerConfig'],
    degraded: ['.status.bindings[].conditions/Accepted=False'],
    otherwise: 'healthy',
  },
  // OpenShift and OLM
  {
    kinds: ['route.openshift.io/Route'],
    degraded: ['.status.ingress[].conditions/Admitted=False'],
    healthy: ['.status.ingress[].conditions/Admitted=True'],
  },
  {
    kinds: ['apps.openshift.io/DeploymentConfig'],
    degraded: ['Progressing=False', 'ReplicaFailure=True'],
    suspended: ['.spec.paused=true'],
    progressing: [
      'Progressing=Unknown',
      'Progressing=True:!NewReplicationControllerAvailable',
      '.status.availableReplicas<.spec.replicas',
    ],
    healthy: ['Available=True', '.spec.replicas=0'],
  },
  {
    kinds: ['build.openshift.io/Build'],
    degraded: ['.status.phase=Failed|Error|Cancelled'],
    progressing: ['.status.phase=New|Pending|Running'],
    healthy: ['.status.phase=Complete'],
    message: ['.status.message', '.status.reason'],
  },
  { kinds: ['build.openshift.io/BuildConfig', 'image.openshift.io/*'], otherwise: 'healthy' },
  {
    kinds: ['operator.openshift.io/*', 'config.openshift.io/ClusterOperator'],
    degraded: ['Degraded=True'],
    progressing: ['Available=False', 'Progressing=True'],
    otherwise: 'healthy',
  },
  {
    kinds: ['operators.coreos.com/ClusterServiceVersion'],
    degraded: ['.status.phase=Failed'],
    progressing: ['.status.phase=Pending|InstallReady|Installing|Replacing|Deleting'],
    unknown: ['.status.phase=Unknown'],
    healthy: ['.status.phase=Succeeded'],
    message: ['.status.message'],
  },
  {
    kinds: ['operators.coreos.com/Subscription'],
    degraded: ['CatalogSourcesUnhealthy=True', 'InstallPlanFailed=True', 'ResolutionFailed=True'],
    progressing: ['InstallPlanPending=True:!RequiresApproval', 'BundleUnpacking=True'],
    suspended: ['InstallPlanPending=True:RequiresApproval'],
    healthy: ['.status.state=AtLatestKnown'],
  },
  {
    kinds: ['operators.coreos.com/InstallPlan'],
    degraded: ['.status.phase=Failed', 'Installed=False'],
    suspended: ['.status.phase=RequiresApproval'],
    progressing: ['.status.phase=Planning|Installing'],
    healthy: ['.status.phase=Complete'],
    message: ['.status.message'],
  },
  {
    kinds: ['operators.coreos.com/CatalogSource'],
    degraded: [
      '.status.connectionState.lastObservedState=TRANSIENT_FAILURE|SHUTDOWN',
      '.status.reason=SpecInvalidError',
    ],
    progressing: ['.status.connectionState.lastObservedState=CONNECTING|IDLE'],
    healthy: ['.status.connectionState.lastObservedState=READY'],
    message: ['.status.message'],
  },
  {
    kinds: ['operators.coreos.com/OperatorGroup'],
    degraded: ['MultipleOperatorGroup=True', 'OperatorGroupServiceAccount=False'],
    otherwise: 'healthy',
  },
  // Data stores and queues
  {
    kinds: ['kafka.strimzi.io/*', 'core.strimzi.io/*'],
    degraded: ['NotReady=True:!Creating', 'Ready=False'],
    progressing: ['NotReady=True'],
    suspended: ['ReconciliationPaused=True'],
    healthy: ['Ready=True', '.status.readyPods=.status.pods'],
  },
  {
    kinds: ['*.k8s.elastic.co/*'],
    degraded: [
      '.status.phase=Invalid',
      '.status.health=red & .status.phase!=ApplyingChanges|MigratingData|NodeShutdownStalled',
    ],
    progressing: ['.status.phase=ApplyingChanges|MigratingData', '.status.health=yellow'],
    suspended: ['.metadata.annotations[eck.k8s.elastic.co/managed]=false'],
    healthy: ['.status.health=green'],
    message: ['.status.phase'],
  },
  {
    kinds: ['postgresql.cnpg.io/Cluster'],
    degraded: [
      '.status.phase=Unable to create required cluster objects|*unrecoverable*|*missing architecture*|*unknown plugin*',
      '.status.phase=*invalid image catalog*|*Not enough disk space*|*failed*|Cluster upgrade delayed',
    ],
    suspended: [
      '.metadata.annotations[cnpg.io/reconciliationLoop]=disabled',
      'cnpg.io/hibernation=True',
      '.status.phase=Waiting for user action',
    ],
    healthy: ['.status.phase=Cluster in healthy state'],
    message: ['.status.phaseReason', '.status.phase'],
  },
  {
    kinds: ['postgresql.cnpg.io/Backup'],
    degraded: ['.status.phase=failed|walArchivingFailing'],
    healthy: ['.status.phase=completed'],
    message: ['.status.error'],
  },
  {
    kinds: ['postgresql.cnpg.io/ScheduledBackup Pooler ImageCatalog ClusterImageCatalog'],
    suspended: ['.spec.suspend=true'],
    otherwise: 'healthy',
  },
  {
    kinds: ['postgresql.cnpg.io/Database Publication Subscription'],
    degraded: ['.status.applied=false'],
    healthy: ['.status.applied=true'],
    message: ['.status.message'],
  },
  {
    kinds: ['acid.zalan.do/postgresql'],
    degraded: ['.status.PostgresClusterStatus=*Failed*|Invalid'],
    progressing: ['.status.PostgresClusterStatus=Creating|Updating'],
    healthy: ['.status.PostgresClusterStatus=Running'],
  },
  {
    kinds: ['pxc.percona.com/*', 'psmdb.percona.com/*', 'pgv2.percona.com/*', 'ps.percona.com/*'],
    degraded: ['.status.state=error|failed|rejected'],
    progressing: ['.status.state=initializing|stopping|starting|running|requested|waiting'],
    suspended: ['.status.state=paused'],
    healthy: ['.status.state=ready|succeeded'],
    message: ['.status.message[]', '.status.message', '.status.error'],
  },
  {
    kinds: ['rabbitmq.com/RabbitmqCluster'],
    degraded: ['ReconcileSuccess=False', 'NoWarnings=False'],
    progressing: ['AllReplicasReady=False|Unknown', 'ClusterAvailable=False|Unknown'],
    healthy: ['AllReplicasReady=True & ClusterAvailable=True & ReconcileSuccess=True'],
  },
  { kinds: ['rabbitmq.com/*'], degraded: ['Ready=False'], healthy: ['Ready=True'] },
  {
    kinds: ['minio.min.io/Tenant'],
    degraded: [
      '.status.healthStatus=red',
      '.status.currentState=*ailed*|*Not *|* not *|*rror*|*nvalid*|*ismatch*|*ifferent*|*Multiple*|Another *',
    ],
    progressing: ['.status.healthStatus=yellow'],
    healthy: ['.status.currentState=Initialized'],
    message: ['.status.currentState', '.status.healthMessage'],
  },
  {
    kinds: ['clickhouse.altinity.com/*', 'clickhouse-keeper.altinity.com/*'],
    degraded: ['.status.status=Aborted|Failed', '.status.error'],
    progressing: ['.status.status=InProgress|Terminating'],
    healthy: ['.status.status=Completed'],
    message: ['.status.error', '.status.action'],
  },
  {
    kinds: ['ceph.rook.io/*'],
    degraded: [
      '.status.phase=Failure|Failed|ReconcileFailed',
      '.status.state=Error',
      '.status.ceph.health=HEALTH_ERR|HEALTH_WARN & .status.state!=Creating|Updating',
    ],
    progressing: ['.status.phase=Progressing|Connecting|Updating|Deleting|Reconciling|Creating'],
    healthy: ['.status.phase=Ready|Connected|Created', '.status.ceph.health=HEALTH_OK'],
    message: ['.status.message', '.status.ceph.health'],
  },
  // Secrets
  {
    kinds: ['external-secrets.io/ClusterExternalSecret'],
    degraded: ['Ready=False', '.status.failedNamespaces'],
    healthy: ['Ready=True'],
  },
  {
    kinds: ['external-secrets.io/ExternalSecret PushSecret SecretStore ClusterSecretStore ClusterPushSecret'],
    degraded: ['Ready=False'],
    healthy: ['Ready=True'],
  },
  { kinds: ['generators.external-secrets.io/*'], otherwise: 'healthy' },
  {
    kinds: ['bitnami.com/SealedSecret'],
    degraded: ['Synced=False'],
    healthy: ['Synced=True'],
    message: ['.status.conditions[].message'],
  },
  {
    kinds: ['secrets.hashicorp.com/*'],
    degraded: ['.status.valid=false', 'Ready=False', 'Healthy=False'],
    healthy: ['.status.valid=true', 'Ready=True', '.status.secretMAC', '.status.lastGeneration'],
    message: ['.status.error'],
  },
  // Scaling and scheduling
  {
    kinds: ['keda.sh/ScaledObject ScaledJob'],
    degraded: ['Ready=False', 'Ready=Unknown:PartialTriggerError', 'Fallback=True'],
    suspended: ['Paused=True'],
    healthy: ['Ready=True'],
  },
  { kinds: ['keda.sh/TriggerAuthentication ClusterTriggerAuthentication'], otherwise: 'healthy' },
  {
    kinds: ['karpenter.sh/NodeClaim'],
    degraded: ['Ready=False', 'Launched=False'],
    suspended: ['Disrupting=True'],
    healthy: ['Ready=True'],
  },
  {
    kinds: ['karpenter.sh/NodePool', 'karpenter.k8s.aws/*', 'karpenter.azure.com/*'],
    degraded: ['Ready=False', 'ValidationSucceeded=False'],
    healthy: ['Ready=True'],
  },
  {
    kinds: ['autoscaling.k8s.io/VerticalPodAutoscaler'],
    degraded: ['ConfigUnsupported=True', 'ConfigDeprecated=True & RecommendationProvided=False'],
    progressing: ['RecommendationProvided=False & NoPodsMatched=False'],
    otherwise: 'healthy',
  },
  // Backups and volumes
  {
    kinds: ['velero.io/Backup Restore'],
    degraded: ['.status.phase=Failed|PartiallyFailed|FailedValidation|*PartiallyFailed'],
    progressing: ['.status.phase=New|Queued|ReadyToStart|InProgress|WaitingForPluginOperations|Finalizing|Deleting'],
    healthy: ['.status.phase=Completed'],
    message: ['.status.failureReason', '.status.validationErrors[]'],
  },
  {
    kinds: ['velero.io/Schedule'],
    degraded: ['.status.phase=FailedValidation'],
    suspended: ['.spec.paused=true'],
    progressing: ['.status.phase=New'],
    healthy: ['.status.phase=Enabled'],
    message: ['.status.validationErrors[]'],
  },
  {
    kinds: ['velero.io/BackupStorageLocation VolumeSnapshotLocation BackupRepository'],
    degraded: ['.status.phase=Unavailable|NotReady'],
    healthy: ['.status.phase=Available|Ready'],
    message: ['.status.message'],
  },
  {
    kinds: ['snapshot.storage.k8s.io/VolumeSnapshot VolumeSnapshotContent'],
    degraded: ['.status.error'],
    healthy: ['.status.readyToUse=true'],
    message: ['.status.error.message'],
  },
  { kinds: ['snapshot.storage.k8s.io/VolumeSnapshotClass'], otherwise: 'healthy' },
  // Networks: what only configures has no status that tells.
  {
    kinds: ['metallb.io/*'],
    degraded: ['configurationValid=False', '.status.result=Invalid'],
    otherwise: 'healthy',
    message: ['.status.errorSummary'],
  },
  {
    kinds: ['cilium.io/*'],
    degraded: ['Valid=False', 'cilium.io/Accepted=False', 'cilium.io/PoolConflict=True'],
    otherwise: 'healthy',
  },
  { kinds: ['traefik.io/*', 'crd.projectcalico.org/*', 'projectcalico.org/*'], otherwise: 'healthy' },
  // Pipelines and batch
  {
    kinds: ['tekton.dev/PipelineRun TaskRun CustomRun'],
    degraded: ['Succeeded=False'],
    suspended: ['.spec.status=PipelineRunPending'],
    progressing: ['Succeeded=Unknown'],
    healthy: ['Succeeded=True'],
  },
  {
    kinds: [
      'tekton.dev/Pipeline Task ClusterTask StepAction',
      'triggers.tekton.dev/TriggerTemplate TriggerBinding ClusterTriggerBinding ClusterInterceptor Interceptor Trigger',
    ],
    otherwise: 'healthy',
  },
  {
    kinds: [
      'jobset.x-k8s.io/JobSet',
      'kubeflow.org/PyTorchJob TFJob MPIJob XGBoostJob PaddleJob JAXJob',
      'trainer.kubeflow.org/TrainJob',
    ],
    degraded: ['Failed=True'],
    suspended: ['Suspended=True', '.spec.suspend=true'],
    progressing: ['Running=True', 'Created=True', 'Restarting=True', 'StartupPolicyInProgress=True'],
    healthy: ['Completed=True', 'Succeeded=True', 'Complete=True'],
  },
  {
    kinds: ['ray.io/RayCluster'],
    degraded: ['.status.state=failed', 'ReplicaFailure=True'],
    suspended: ['.status.state=suspended', 'RayClusterSuspended=True'],
    healthy: ['.status.state=ready'],
    message: ['.status.reason'],
  },
  {
    kinds: ['sparkoperator.k8s.io/SparkApplication'],
    degraded: ['.status.applicationState.state=FAILED|SUBMISSION_FAILED|FAILING|INVALIDATING|UNKNOWN'],
    progressing: ['.status.applicationState.state=NEW|SUBMITTED|PENDING_RERUN|SUCCEEDING'],
    suspended: ['.status.applicationState.state=SUSPENDED|SUSPENDING', '.spec.suspend=true'],
    healthy: ['.status.applicationState.state=RUNNING|COMPLETED'],
    message: ['.status.applicationState.errorMessage'],
  },
  {
    kinds: ['kubevirt.io/VirtualMachine VirtualMachineInstance'],
    degraded: [
      '.status.printableStatus=CrashLoopBackOff|Err*|*Error|*NotFound|Unschedulable',
      'Failure=True',
      '.status.phase=Failed',
    ],
    suspended: ['.status.printableStatus=Stopped|Paused', 'Paused=True', '.status.phase=Succeeded'],
    healthy: ['Ready=True'],
    message: ['.status.conditions[].message'],
  },
  // Clusters and clouds
  {
    kinds: ['cluster.x-k8s.io/MachineHealthCheck'],
    degraded: ['RemediationAllowed=False', '.status.currentHealthy<.status.expectedMachines'],
    suspended: ['Paused=True', '.metadata.annotations[cluster.x-k8s.io/paused]=*'],
    healthy: ['RemediationAllowed=True', '.status.observedGeneration'],
  },
  {
    kinds: ['cluster.x-k8s.io/*', 'controlplane.cluster.x-k8s.io/*'],
    degraded: [
      '.status.phase=Failed & !.spec.paused',
      '.status.failureMessage',
      'Ready=False@Error',
      'Available=False@Error',
    ],
    progressing: [
      '.status.phase=Pending|Provisioning|ScalingUp|ScalingDown|Deleting & !.spec.paused',
      'Ready=False|Unknown & !.spec.paused',
      'Available=False|Unknown & !.spec.paused',
    ],
    suspended: ['.spec.paused=true', 'Paused=True', '.metadata.annotations[cluster.x-k8s.io/paused]=*'],
    healthy: ['Available=True', 'Ready=True', '.status.phase=Running'],
    message: ['.status.failureMessage'],
  },
  {
    kinds: ['core.cnrm.cloud.google.com/ConfigConnector ConfigConnectorContext'],
    degraded: ['.status.healthy=false'],
    healthy: ['.status.healthy=true'],
    message: ['.status.errors[]'],
  },
  {
    kinds: ['*.cnrm.cloud.google.com/*'],
    degraded: [
      'Ready=False:UpdateFailed|DeleteFailed|DependencyInvalid|DependencyNotFound|ManagementConflict|PreActuationTransformFailed',
    ],
    progressing: ['Ready=False|Unknown'],
    healthy: ['Ready=True'],
  },
  {
    kinds: ['*.services.k8s.aws/*'],
    degraded: ['ACK.Terminal=True', 'ACK.Recoverable=True', 'ACK.ReferencesResolved=False'],
    progressing: ['ACK.ResourceSynced=False|Unknown'],
    healthy: ['ACK.ResourceSynced=True', 'Ready=True'],
  },
  {
    kinds: ['*.azure.com/*'],
    degraded: ['Ready=False@Error'],
    progressing: ['Ready=False|Unknown'],
    healthy: ['Ready=True'],
  },
  // Policies
  {
    kinds: ['kyverno.io/Policy ClusterPolicy', 'policies.kyverno.io/*'],
    degraded: ['Ready=False:Failed', '.status.conditionStatus.ready=false'],
    healthy: ['Ready=True', '.status.ready=true', '.status.conditionStatus.ready=true'],
    message: ['.status.conditionStatus.message'],
  },
  {
    kinds: ['kyverno.io/PolicyException CleanupPolicy ClusterCleanupPolicy'],
    degraded: ['Ready=False'],
    otherwise: 'healthy',
  },
  {
    kinds: ['templates.gatekeeper.sh/ConstraintTemplate', 'constraints.gatekeeper.sh/*'],
    degraded: ['.status.byPod[].errors'],
    healthy: ['.status.created=true', '.status.byPod[].enforced=true'],
    message: ['.status.byPod[].errors[].message'],
  },
  { kinds: ['helm.cattle.io/HelmChart'], degraded: ['Failed=True'], healthy: ['.status.jobName'] },
  { kinds: ['helm.cattle.io/HelmChartConfig'], otherwise: 'healthy' },
]
