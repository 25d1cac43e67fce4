package llama

import (
	"bytes"
	"fmt"
	"path/filepath"
	"runtime"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"
	"github.com/hybridgroup/yzma/pkg/llama"
	"github.com/jupiterrider/ffi"

	"github.com/catenary-run/catenary/functions"
)

// Tensor is where one tensor of a model went.
type Tensor struct {
	Name string
	At   uintptr // an address of the device that holds it, or of host memory
	Data []byte  // what it was filled with: a part of the file that the model was built from
}

// maker makes models from GGUF files in memory. It is bound by hand: the bindings lack llama_model_init_from_user.
type maker struct {
	parse        func(data unsafe.Pointer, n uint64, noAlloc, context uintptr) uintptr
	drop         func(file uintptr)
	find         func(file uintptr, name string) int64
	dataAt       func(file uintptr) uint64 // where all tensors begin
	tensorAt     func(file uintptr, i int64) uint64
	tensorSize   func(file uintptr, i int64) uint64
	tensorType   func(file uintptr, i int64) int32
	nameOf       func(tensor uintptr) string
	addressOf    func(tensor uintptr) uintptr
	sizeOf       func(tensor uintptr) uint64
	fill         func(tensor uintptr, data unsafe.Pointer, offset, n uint64)
	valid        func(kind int32, data unsafe.Pointer, n uint64) bool
	initFromUser ffi.Fun
	callback     uintptr // of tensor, for C

	// Of the build under way. The engine's lock on loading covers them.
	data    []byte
	file    uintptr
	check   bool
	tensors []Tensor
	err     error // the first
}

// modelParams is llama_model_params as the bindings have it: see llama.ModelParams, field by field.
func modelParams() ffi.Type {
	p, i, b := &ffi.TypePointer, &ffi.TypeSint32, &ffi.TypeUint8
	return ffi.NewType(p, p, i, i, i, i, i, p, p, p, p, b, b, b, b, b, b)
}

// newMaker binds to the libraries of a folder of links.
func newMaker(links string) (*maker, error) {
	base, err := purego.Dlopen(filepath.Join(links, "libggml-base"+suffix()), purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, err
	}
	b := &maker{}
	for name, fn := range map[string]any{
		"gguf_init_from_buffer": &b.parse, "gguf_free": &b.drop, "gguf_find_tensor": &b.find,
		"gguf_get_data_offset": &b.dataAt, "gguf_get_tensor_offset": &b.tensorAt, "gguf_get_tensor_size": &b.tensorSize,
		"gguf_get_tensor_type": &b.tensorType,
		"ggml_get_name":        &b.nameOf, "ggml_get_data": &b.addressOf, "ggml_nbytes": &b.sizeOf,
		"ggml_backend_tensor_set": &b.fill, "ggml_validate_row_data": &b.valid,
	} {
		address, err := purego.Dlsym(base, name)
		if err != nil {
			return nil, err
		}
		purego.RegisterFunc(fn, address)
	}
	lib, err := ffi.Load(filepath.Join(links, "libllama"+suffix()))
	if err != nil {
		return nil, err
	}
	p, params := &ffi.TypePointer, modelParams()
	b.initFromUser, err = lib.Prep("llama_model_init_from_user", p, p, p, p, &params)
	b.callback = purego.NewCallback(b.tensor)
	return b, err
}

// build makes a model of a GGUF file's bytes. With check it looks at every tensor's data.
func (b *maker) build(data []byte, check bool, params llama.ModelParams) (llama.Model, []Tensor, error) {
	var pin runtime.Pinner
	pin.Pin(&data[0])
	defer pin.Unpin()
	// The struct of the last two arguments, by value, travels as two numbers: no memory for tensors, no context of them.
	file := b.parse(unsafe.Pointer(&data[0]), uint64(len(data)), 1, 0)
	if file == 0 {
		return 0, nil, fmt.Errorf("the header can't be read")
	}
	defer b.drop(file)
	b.data, b.file, b.check, b.tensors, b.err = data, file, check, nil, nil
	defer func() { b.data, b.tensors = nil, nil }()
	var model llama.Model
	callback, user := b.callback, uintptr(0)
	b.initFromUser.Call(unsafe.Pointer(&model), unsafe.Pointer(&file), unsafe.Pointer(&callback), unsafe.Pointer(&user), unsafe.Pointer(&params))
	if model == 0 {
		return 0, nil, fmt.Errorf("the model can't be built")
	}
	if b.err != nil {
		_ = llama.ModelFree(model) // its only error is a null handle
		return 0, nil, b.err
	}
	return model, b.tensors, nil
}

// tensor is called by C for each tensor of the model, to fill it.
func (b *maker) tensor(tensor, _ uintptr) uintptr {
	if b.err == nil {
		b.err = b.fillTensor(tensor)
	}
	return 0
}

func (b *maker) fillTensor(tensor uintptr) error {
	name, size := b.nameOf(tensor), b.sizeOf(tensor)
	i := b.find(b.file, name)
	if i < 0 {
		return fmt.Errorf("the model needs a tensor %q, which the file lacks", name)
	}
	if n := b.tensorSize(b.file, i); n != size {
		return fmt.Errorf("tensor %q has %d bytes in the file, and the model needs %d", name, n, size)
	}
	at, all := b.dataAt(b.file)+b.tensorAt(b.file, i), uint64(len(b.data))
	if at > all || size > all-at || size == 0 {
		return fmt.Errorf("tensor %q lies outside the file", name)
	}
	data := b.data[at : at+size]
	if b.check && !b.valid(b.tensorType(b.file, i), unsafe.Pointer(&data[0]), size) {
		return fmt.Errorf("tensor %q has invalid data", name)
	}
	b.fill(tensor, unsafe.Pointer(&data[0]), 0, size)
	b.tensors = append(b.tensors, Tensor{Name: name, At: b.addressOf(tensor), Data: data})
	return nil
}

// LoadBytes is Load from the bytes of a GGUF file, which must stay as they are until Close: a parked model is built from
// them again. The library reads no file, and Tensors says where everything went. What stays on the CPU is copied, too.
func (e *Engine) LoadBytes(file []byte, opt Options) (*Model, Residency, error) {
	start := time.Now()
	h, err := parseHeader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return nil, Residency{}, err
	}
	return e.load(&Model{engine: e, file: file, opt: opt}, h, start)
}

// Tensors are those of a model that was built from memory, while it is awake.
func (m *Model) Tensors() []Tensor { return m.tensors }

// read brings the model's tensors into memory, from wherever they are.
func (m *Model) read(check bool) (llama.Model, error) {
	params := llama.ModelDefaultParams()
	params.NGpuLayers = int32(m.opt.DeviceLayers)
	if m.file == nil {
		if check {
			params.CheckTensors = 1
		}
		return llama.ModelLoadFromFile(m.path, params)
	}
	model, tensors, err := m.engine.maker.build(m.file, check, params)
	m.tensors = tensors
	return model, err
}

// Synchronize waits for the work that the model has handed to its device.
func (m *Model) Synchronize() error {
	if !m.Awake() {
		return fmt.Errorf("%w: the model is parked", functions.ErrConflict)
	}
	return wrap(llama.Synchronize(m.ctx))
}
