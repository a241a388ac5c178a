// The small shop of the demo: what its developers keep in Git, and what its platform team applies to the hub.

/** The web application's manifests with this image tag. */
export function webFiles(tag: string): Record<string, string> {
  return {
    'deploy/web/namespace.yaml': 'apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n',
    'deploy/web/deployment.yaml': `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: shop/web:${tag}
          ports: [{containerPort: 8080}]
          envFrom: [{configMapRef: {name: web}}]
`,
    'deploy/web/service.yaml': `apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
`,
    'deploy/web/config.yaml': `apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {GREETING: "hello from ${tag}"}
`,
  }
}

/** The second application, for clusters in the EU only. */
export const taxFiles: Record<string, string> = {
  'deploy/tax/tax.yaml': `apiVersion: v1
kind: Namespace
metadata: {name: tax}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: tax}
spec:
  replicas: 1
  selector: {matchLabels: {app: tax}}
  template:
    metadata: {labels: {app: tax}}
    spec: {containers: [{name: tax, image: "shop/tax:1.0"}]}
`,
}

/** What the platform team applies: the repository and both applications. */
export function definitions(url: string): string {
  return `apiVersion: fairlead.dev/v1alpha1
kind: Repository
metadata: {name: shop}
spec: {url: "${url}", pollInterval: 1s}
---
apiVersion: fairlead.dev/v1alpha1
kind: Application
metadata: {name: web}
spec:
  source: {repository: shop, ref: main, path: deploy/web}
  placement: {clusters: {matchLabels: {env: prod}}}
  namespace: shop
---
apiVersion: fairlead.dev/v1alpha1
kind: Application
metadata: {name: tax}
spec:
  source: {repository: shop, ref: main, path: deploy/tax}
  placement: {clusters: {matchLabels: {region: eu}}}
  namespace: tax
`
}
