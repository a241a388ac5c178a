// Helm's and Kustomize's own libraries behind one function, compiled to WebAssembly. The module has no file system, no
// network and no environment: what it reads comes in the request, what it made goes out in the answer.
package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime/debug"
	"unsafe"
)

// Messages are a header in JSON behind its length (4 bytes, little endian), and then the bytes that the header speaks of.
var (
	message []byte
	answer  []byte
)

func init() {
	// The host limits the memory (see hub/server/renderer/engine-module.ts); near the limit collect rather than die.
	debug.SetMemoryLimit(400 << 20)
	// Endless recursion ends as that, not as a lack of memory.
	debug.SetMaxStack(64 << 20)
	// Whatever the libraries want to say beside their errors, nobody reads.
	slog.SetDefault(slog.New(slog.DiscardHandler))
}

// begin makes room for a request of that many bytes and returns where to put them.
//
//go:wasmexport begin
func begin(size int32) unsafe.Pointer {
	message = make([]byte, max(size, 1))
	return unsafe.Pointer(unsafe.SliceData(message))
}

// render answers the request that was put there, and returns the length of the answer.
//
//go:wasmexport render
func render() int32 {
	answer = encode(handle(message))
	message = nil
	return int32(len(answer))
}

// result returns where the answer is. It stays there until the next begin.
//
//go:wasmexport result
func result() unsafe.Pointer {
	return unsafe.Pointer(unsafe.SliceData(answer))
}

func handle(message []byte) (outcome *outcome) {
	defer func() {
		if panicked := recover(); panicked != nil {
			outcome = refused(problem{Code: renderFailed, Message: fmt.Sprintf("the renderer failed: %v", panicked)})
			outcome.Broken = true
		}
	}()
	request, err := decode(message)
	if err != nil {
		return refused(problem{Code: "Internal", Message: err.Error()})
	}
	if request.Kustomize != nil {
		return renderKustomize(request)
	}
	return renderHelm(request)
}

func decode(message []byte) (*request, error) {
	if len(message) < 4 {
		return nil, fmt.Errorf("the request is too short")
	}
	size := int(binary.LittleEndian.Uint32(message))
	if size > len(message)-4 {
		return nil, fmt.Errorf("the header is longer than the request")
	}
	var decoded request
	if err := json.Unmarshal(message[4:4+size], &decoded); err != nil {
		return nil, err
	}
	body := message[4+size:]
	for index := range decoded.Files {
		file := &decoded.Files[index]
		if file.Size > len(body) {
			return nil, fmt.Errorf("%s is cut off", file.Path)
		}
		file.bytes, body = body[:file.Size:file.Size], body[file.Size:]
	}
	decoded.tree = newTree(&decoded)
	return &decoded, nil
}

func encode(outcome *outcome) []byte {
	size := 0
	for index := range outcome.Outputs {
		outcome.Outputs[index].Size = len(outcome.Outputs[index].text)
		size += len(outcome.Outputs[index].text)
	}
	if size > maxOutputBytes {
		outcome = refused(problem{
			Code:    "LimitExceeded",
			Message: fmt.Sprintf("what is rendered has more than %d bytes", maxOutputBytes),
		})
		size = 0
	}
	header, err := json.Marshal(outcome)
	if err != nil {
		panic(err)
	}
	encoded := make([]byte, 4, 4+len(header)+size)
	binary.LittleEndian.PutUint32(encoded, uint32(len(header)))
	encoded = append(encoded, header...)
	for _, output := range outcome.Outputs {
		encoded = append(encoded, output.text...)
	}
	return encoded
}

func main() {}
