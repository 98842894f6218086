#Requires -RunAsAdministrator
<#
.SYNOPSIS
Installs or removes an edge worker as a Windows service. Read docs/windows.md first: Airflow tasks do not run on Windows yet.

.EXAMPLE
.\install.ps1 -ApiUrl https://airflow.example.com -Name plant-7 -Wheels .\wheels -JoinTokenFile token.txt -WinSW .\WinSW-x64.exe

.EXAMPLE
.\install.ps1 -Uninstall -Name plant-7
#>
[CmdletBinding(DefaultParameterSetName = 'Install')]
param(
    [ValidatePattern('^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$')]
    [string] $Name = $env:COMPUTERNAME,
    [Parameter(Mandatory, ParameterSetName = 'Install')] [uri] $ApiUrl,
    [Parameter(Mandatory, ParameterSetName = 'Install')] [string] $WinSW,
    [Parameter(ParameterSetName = 'Install')] [string] $JoinTokenFile,
    [Parameter(Mandatory, ParameterSetName = 'Install')] [string] $Wheels,
    [Parameter(ParameterSetName = 'Install')] [string] $Python = 'py',
    [Parameter(Mandatory, ParameterSetName = 'Uninstall')] [switch] $Uninstall,
    [string] $Prefix = "$env:ProgramFiles\airflow-edge"
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

$State = "$env:ProgramData\airflow-edge\$Name"
$Wrapper = "$Prefix\service\edge-worker-$Name.exe"

function Invoke-Checked {
    param([string] $Program, [string[]] $Arguments)
    & $Program @Arguments
    if ($LASTEXITCODE -ne 0) { throw "$Program exited with code $LASTEXITCODE" }
}

if ($Uninstall) {
    if (Test-Path $Wrapper) {
        Invoke-Checked $Wrapper @('stop')
        Invoke-Checked $Wrapper @('uninstall')
        Remove-Item $Wrapper, "$Prefix\service\edge-worker-$Name.xml"
    }
    Write-Output "Settings and state are kept in $State. Revoke the credential: edge-api worker revoke $Name"
    return
}

if (-not (Test-Path "$Prefix\Scripts\python.exe")) { Invoke-Checked $Python @('-m', 'venv', $Prefix) }
# All wheels of the folder, and nothing from an index: anybody can register a name there.
$env:PIP_CONFIG_FILE = 'nul'
$Options = @('-m', 'pip', 'install', '--quiet', '--isolated', '--no-index', '--find-links', $Wheels)
Invoke-Checked "$Prefix\Scripts\python.exe" ($Options + (Get-ChildItem "$Wheels\*.whl").FullName)

# The state folder holds the credential: only administrators, the system and the service account may read it.
New-Item -ItemType Directory -Force $State, "$Prefix\service" | Out-Null
Invoke-Checked 'icacls' @($State, '/inheritance:r', '/grant', '*S-1-5-32-544:(OI)(CI)F', '*S-1-5-18:(OI)(CI)F', '*S-1-5-19:(OI)(CI)M')

if ($JoinTokenFile) {
    $env:EDGE_WORKER_NAME = $Name
    $env:EDGE_WORKER_STATE_DIR = $State
    Invoke-Checked "$Prefix\Scripts\edge-worker.exe" @('enroll', '--api-url', "$ApiUrl", '--join-token-file', $JoinTokenFile)
}

$Values = @{ NAME = $Name; PREFIX = $Prefix; STATE = $State; API_URL = "$ApiUrl".TrimEnd('/') }
$Settings = Get-Content "$PSScriptRoot\edge-worker.xml" -Raw
foreach ($Key in $Values.Keys) { $Settings = $Settings.Replace("@$Key@", [Security.SecurityElement]::Escape($Values[$Key])) }
Set-Content "$Prefix\service\edge-worker-$Name.xml" $Settings -Encoding UTF8
if (-not (Test-Path $Wrapper)) {
    Copy-Item $WinSW $Wrapper
    Invoke-Checked $Wrapper @('install')
}
Write-Output "Start it: $Wrapper start"
