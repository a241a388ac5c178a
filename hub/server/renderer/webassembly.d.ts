// The part of WebAssembly's JavaScript interface that the engine needs: TypeScript has it only along with all of the browser.
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array<ArrayBuffer>)
    static imports(module: Module): { readonly module: string; readonly name: string; readonly kind: string }[]
  }
  class Instance {
    constructor(module: Module, imports: Imports)
    readonly exports: Readonly<Record<string, unknown>>
  }
  class RuntimeError extends Error {}
  interface Memory {
    readonly buffer: ArrayBuffer
  }
  type Imports = Readonly<Record<string, Readonly<Record<string, (...args: never[]) => number>>>>
  function compile(bytes: Uint8Array<ArrayBuffer>): Promise<Module>
}
