// The libFuzzer entry of `checkRESPDecoders`; built and run by tools/fuzz.

import FuzzChecks

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    checkRESPDecoders(fuzzInput(start, count))
    return 0
}

/// The package manager links an executable's main function under this name; libFuzzer's own is not found.
@_cdecl("RespFuzz_main")
public func main(_ count: CInt, _ arguments: FuzzerArguments) -> CInt {
    var count = count
    var arguments: FuzzerArguments = arguments
    return runFuzzer(&count, &arguments, fuzz)
}

public typealias FuzzerArguments = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?

@_silgen_name("LLVMFuzzerRunDriver")
private func runFuzzer(
    _ count: UnsafeMutablePointer<CInt>, _ arguments: UnsafeMutablePointer<FuzzerArguments>,
    _ check: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt
