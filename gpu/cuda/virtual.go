package cuda

// Addr is an address in device memory.
type Addr uint64

// Physical is memory of the device that may be mapped at an address. It lives until it is neither mapped nor held: Release
// only lets go of it.
type Physical uint64

// location is a CUmemLocation.
type location struct {
	kind int32 // 1: a device
	id   int32
}

// properties is a CUmemAllocationProp: what an engine asked for is kept as it is, for the next time.
type properties struct {
	kind     int32 // 1: pinned, the only one there is
	_        int32 // how it can be given to other processes
	location location
	_        [16]byte
}

// access is a CUmemAccessDesc.
type access struct {
	location location
	flags    int32 // 3: read and write
}

func (d *Device) properties() properties {
	return properties{kind: 1, location: location{kind: 1, id: d.handle}}
}

func (d *Device) access() access {
	return access{location: location{kind: 1, id: d.handle}, flags: 3}
}

// Granularity is what sizes and addresses of mappings are multiples of, in bytes.
func (d *Device) Granularity() (int64, error) {
	var n uint64
	p := d.properties()
	err := d.driver.check("cuMemGetAllocationGranularity", d.driver.fn.granularity(&n, &p, 0))
	return int64(n), err
}

// Reserve returns a range of addresses without memory. The size is a multiple of the granularity, here and below.
func (d *Device) Reserve(size int64) (Addr, error) {
	var at Addr
	err := d.driver.check("cuMemAddressReserve", d.driver.fn.reserve(&at, uint64(size), 0, 0, 0))
	return at, err
}

// Unreserve gives a whole range back. Nothing may be mapped in it.
func (d *Device) Unreserve(at Addr, size int64) error {
	return d.driver.check("cuMemAddressFree", d.driver.fn.addressFree(at, uint64(size)))
}

// Create returns memory. It returns an error wrapping [ErrNoRoom] if the device has not so much.
func (d *Device) Create(size int64) (Physical, error) { return d.create(size, d.properties()) }

func (d *Device) create(size int64, props properties) (Physical, error) {
	var p Physical
	err := d.driver.check("cuMemCreate", d.driver.fn.create(&p, uint64(size), &props, 0))
	return p, err
}

// Release lets go of memory.
func (d *Device) Release(p Physical) error {
	return d.driver.check("cuMemRelease", d.driver.fn.release(p))
}

// Map puts all of p, which has that size, at a reserved address. Nobody may touch it before SetAccess.
func (d *Device) Map(at Addr, size int64, p Physical) error {
	return d.driver.check("cuMemMap", d.driver.fn.mapAt(at, uint64(size), 0, p, 0))
}

// SetAccess lets this device read and write a range that is mapped.
func (d *Device) SetAccess(at Addr, size int64) error {
	return d.setAccess(at, size, []access{d.access()})
}

func (d *Device) setAccess(at Addr, size int64, who []access) error {
	return d.driver.check("cuMemSetAccess", d.driver.fn.setAccess(at, uint64(size), &who[0], uint64(len(who))))
}

// Unmap takes whole mappings away. No work that uses them may be under way: the driver does not wait for it.
func (d *Device) Unmap(at Addr, size int64) error {
	return d.driver.check("cuMemUnmap", d.driver.fn.unmap(at, uint64(size)))
}
