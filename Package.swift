// swift-tools-version: 6.2

import PackageDescription

// CI sets TORC_STRICT: every warning in Torc's own targets is an error there.
// TORC_MUTATIONS compiles the deliberate faults of TorcModel and TorcReplication in, for
// `torc-simulate --mutation`; a binary that serves never has them. TORC_FUZZ builds the fuzz targets.
let strict = Context.environment["TORC_STRICT"] != nil
let mutations = Context.environment["TORC_MUTATIONS"] != nil
let fuzzing = Context.environment["TORC_FUZZ"] != nil

// Bodies of functions are handed on between modules: a tenth off the processor time of a put. SwiftPM takes such flags from no package that
// another one depends on.
let isDependency = Context.packageDirectory.contains("/checkouts/")
let acrossModules: [SwiftSetting] =
    isDependency ? [] : [.unsafeFlags(["-cross-module-optimization"], .when(configuration: .release))]

let swiftSettings: [SwiftSetting] =
    [
        .enableUpcomingFeature("ExistentialAny"), .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
    ]
    + (strict ? [.treatAllWarnings(as: .error)] : [])
    + acrossModules + (mutations ? [.define("TORC_MUTATIONS")] : [])
    + (fuzzing ? [.unsafeFlags(["-sanitize=fuzzer"])] : [])

let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let collections: Target.Dependency = .product(name: "Collections", package: "swift-collections")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let atomics: Target.Dependency = .product(name: "Atomics", package: "swift-atomics")

/// libFuzzer brings the main function of these; tools/fuzz builds and runs them.
let fuzzTargets: [Target] = (fuzzing ? ["PeerFuzz", "ModelFuzz", "RiakFuzz", "RespFuzz"] : []).map { name in
    .executableTarget(
        name: name, dependencies: ["FuzzChecks"], path: "Tests/Fuzz/\(name)",
        swiftSettings: swiftSettings + [.unsafeFlags(["-parse-as-library"])],
        linkerSettings: [.unsafeFlags(["-sanitize=fuzzer"])])
}

let package = Package(
    name: "torc",
    products: [
        .executable(name: "torc", targets: ["torc"]),
        .executable(name: "torc-simulate", targets: ["torc-simulate"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.0"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-atomics", from: "1.3.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0", traits: []),
        .package(url: "https://github.com/apple/swift-http-types.git", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(
            url: "https://github.com/apple/swift-configuration", from: "1.4.0",
            traits: ["JSON", "YAML", "CommandLineArguments"]),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.0"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
    ],
    targets: [
        // The C boundary.
        .target(name: "CRocksDB", linkerSettings: [.linkedLibrary("rocksdb")]),
        .target(name: "CXXHash", linkerSettings: [.linkedLibrary("xxhash")]),
        .target(name: "CZlib", linkerSettings: [.linkedLibrary("z")]),
        .target(name: "CCallgrind"),

        // Pure: no IO, no clock, no randomness of their own.
        .target(
            name: "TorcModel", dependencies: ["CXXHash", nioCore, crypto],
            swiftSettings: swiftSettings),
        .target(
            name: "TorcReplication", dependencies: ["TorcModel", nioCore, collections],
            swiftSettings: swiftSettings),

        // Bytes on disk, bytes on the wire, virtual time.
        .target(
            name: "TorcStorage",
            dependencies: ["CRocksDB", "TorcModel", "TorcReplication", nioCore, logging],
            swiftSettings: swiftSettings),
        .target(
            name: "TorcWire",
            dependencies: [
                "TorcModel", "TorcReplication", nioCore, nioPosix, crypto, logging,
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "TorcSimulation", dependencies: ["TorcModel", "TorcReplication", nioCore, collections],
            swiftSettings: swiftSettings),

        // The shell.
        .target(
            name: "TorcServer",
            dependencies: [
                "TorcModel", "TorcReplication", "TorcStorage", "TorcWire", nioCore, nioPosix, logging, crypto, atomics,
                collections,
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "Configuration", package: "swift-configuration"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
                .product(name: "Hummingbird", package: "hummingbird"),
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "TorcClient", dependencies: ["TorcModel", "TorcWire", nioCore, nioPosix, logging],
            swiftSettings: swiftSettings),
        .target(
            name: "TorcLoad",
            dependencies: [
                "TorcModel", "TorcWire", "TorcClient", nioCore, nioPosix, arguments,
                .product(name: "Histogram", package: "hdrhistogram-swift"),
            ],
            path: "Bench/Load",
            swiftSettings: swiftSettings),

        .target(
            name: "TorcWritePath",
            dependencies: [
                "TorcModel", "TorcReplication", "TorcStorage", "TorcWire", "TorcServer", "TorcLoad", "TorcConsole",
                nioCore, arguments, logging,
                .product(name: "Histogram", package: "hdrhistogram-swift"),
            ],
            path: "Bench/WritePath", swiftSettings: swiftSettings),

        .target(
            name: "TorcMicro",
            dependencies: [
                "CCallgrind", "TorcModel", "TorcReplication", "TorcWire", "TorcLoad", "TorcConsole", nioCore, arguments,
            ],
            path: "Bench/Micro", exclude: ["limits.json"], swiftSettings: swiftSettings),

        // What commands print: tables, progress, JSON.
        .target(name: "TorcConsole", swiftSettings: swiftSettings),
        .target(
            name: "TorcInspect",
            dependencies: [
                "TorcModel", "TorcReplication", "TorcStorage", "TorcClient", "TorcConsole", "CZlib", nioCore, arguments,
                logging,
            ],
            path: "tools/Inspect", swiftSettings: swiftSettings),

        .executableTarget(
            name: "torc",
            dependencies: [
                "TorcServer", "TorcClient", "TorcLoad", "TorcWritePath", "TorcMicro", "TorcInspect", "TorcConsole",
                "TorcStorage", arguments, logging,
            ],
            swiftSettings: swiftSettings,
            linkerSettings: [.linkedLibrary("jemalloc")]),
        .executableTarget(
            name: "torc-micro", dependencies: ["TorcMicro"], swiftSettings: swiftSettings,
            linkerSettings: [.linkedLibrary("jemalloc")]),
        .executableTarget(
            name: "torc-simulate",
            dependencies: ["TorcSimulation", "TorcModel", "TorcReplication", "TorcWire", nioCore, arguments],
            swiftSettings: swiftSettings,
            linkerSettings: [.linkedLibrary("jemalloc")]),

        // Tests: one folder a module.
        .target(
            name: "TestSupport", dependencies: ["TorcModel", "TorcReplication", nioCore],
            path: "Tests/Support", swiftSettings: swiftSettings),
        .target(
            name: "StoreSupport", dependencies: ["TorcStorage", "TorcModel", "TorcReplication", nioCore, logging],
            path: "Tests/StoreSupport", swiftSettings: swiftSettings),
        .target(
            name: "FuzzChecks",
            dependencies: [
                "TorcModel", "TorcReplication", "TorcWire", nioCore,
                .product(name: "NIOEmbedded", package: "swift-nio"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
            ],
            path: "Tests/Fuzz/Checks", swiftSettings: swiftSettings),
        .testTarget(
            name: "TorcModelTests", dependencies: ["TorcModel", "TestSupport", nioCore, crypto],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "TorcReplicationTests", dependencies: ["TorcReplication", "TestSupport", nioCore],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "TorcStorageTests",
            dependencies: [
                "TorcStorage", "CRocksDB", "TorcModel", "TorcReplication", "TestSupport", "StoreSupport", nioCore,
                logging,
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "TorcWireTests",
            dependencies: [
                "TorcWire", "TorcModel", "TorcReplication", "TestSupport", "FuzzChecks", nioCore, nioPosix, crypto,
                logging, .product(name: "NIOEmbedded", package: "swift-nio"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "TorcSimulationTests",
            dependencies: ["TorcSimulation", "TorcModel", "TorcReplication", "TorcWire", "TestSupport", nioCore],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "TorcServerTests",
            dependencies: [
                "TorcServer", "TorcClient", "TorcLoad", "TorcModel", "TorcReplication", "TorcStorage", "TestSupport",
                nioCore, nioPosix, logging, arguments,
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "TorcInspectTests",
            dependencies: [
                "TorcInspect", "TorcConsole", "TorcStorage", "CRocksDB", "TorcModel", "TorcReplication", "TestSupport",
                "StoreSupport", nioCore, arguments,
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "TorcWritePathTests", dependencies: ["TorcWritePath", "TorcConsole", "TorcWire", arguments],
            swiftSettings: swiftSettings),
        .testTarget(name: "TorcMicroTests", dependencies: ["TorcMicro"], swiftSettings: swiftSettings),
        .testTarget(
            name: "TorcClientTests",
            dependencies: [
                "TorcClient", "TorcWire", "TorcModel", "TorcReplication", "TestSupport", nioCore, nioPosix,
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "HouseTests", dependencies: [], swiftSettings: swiftSettings),
    ] + fuzzTargets,
    swiftLanguageModes: [.v6],
    cxxLanguageStandard: .cxx17
)
