// Where the API server is and how the agent proves who it is: in a pod, or by a kubeconfig.

/** Access to an API server. The functions are asked anew before they are used, so that rotated files take effect. */
export interface ApiServerAccess {
  /** `https://host:port`. */
  readonly server: string
  /** TLS material; asked for each new connection. */
  readonly tls: () => Promise<{ ca?: Buffer; cert?: Buffer; key?: Buffer; servername?: string }>
  /** Value of the authorization header, or undefined for certificates; asked for each request. */
  readonly authorization: () => Promise<string | undefined>
}
