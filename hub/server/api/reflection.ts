// gRPC reflection out of protobuf-es descriptors: lets grpcurl and `buf curl` list and call the services.
import { type DescFile, type DescService, toBinary } from '@bufbuild/protobuf'
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt'
import type * as grpc from '@grpc/grpc-js'
import { ReflectionService } from '@grpc/reflection'

/** Adds the reflection services (v1 and v1alpha) for these services. */
export function addReflection(server: grpc.Server, services: readonly DescService[]): void {
  const definitions: Record<string, unknown> = {}
  for (const service of services) {
    const fileDescriptorProtos = withDependencies(service.file).map((file) =>
      Buffer.from(toBinary(FileDescriptorProtoSchema, file.proto)),
    )
    definitions[service.typeName] = { fileDescriptorProtos }
    for (const { typeName } of service.file.messages) {
      definitions[typeName] = { format: 'Protocol Buffer 3 DescriptorProto', type: {}, fileDescriptorProtos }
    }
  }
  new ReflectionService(definitions as ConstructorParameters<typeof ReflectionService>[0]).addToServer(server)
}

/** The file after everything that it imports. */
function withDependencies(file: DescFile, seen = new Set<DescFile>()): DescFile[] {
  if (seen.has(file)) return []
  seen.add(file)
  return [...file.dependencies.flatMap((dependency) => withDependencies(dependency, seen)), file]
}
