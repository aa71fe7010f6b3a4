// dcmjs-dimse as a peer. `store PORT CALLED FILE...` sends files over one association and prints "UID STATUS" for each;
// `receive PORT FOLDER` keeps each data set that comes, bytes as received, as FOLDER/CLASS_INSTANCE_SYNTAX_.dcm (UIDs).
const fs = require('fs');
const path = require('path');
const { Client, Server, Scp, Dataset, requests, responses, constants, log } = require('dcmjs-dimse');
const { Status, PresentationContextResult } = constants;

log.setLevel('warn');

function store(port, called, files) {
  const client = new Client();
  for (const file of files) {
    const request = new requests.CStoreRequest(file);
    request.on('response', (response) => {
      if (response.getStatus() !== Status.Pending) {
        console.log(`${request.getAffectedSopInstanceUid()} ${response.getStatus()}`);
      }
    });
    client.addRequest(request);
  }
  client.on('networkError', (error) => {
    console.error(error);
    process.exitCode = 1;
  });
  client.send('127.0.0.1', Number(port), 'DCMJS', called);
}

function receive(port, folder) {
  class Keeper extends Scp {
    associationRequested(association) {
      for (const { id } of association.getPresentationContexts()) {
        const context = association.getPresentationContext(id);
        context.setResult(PresentationContextResult.Accept, context.getTransferSyntaxUids()[0]);
      }
      this.sendAssociationAccept();
    }

    createStoreWritableStream(context, request) {
      const uids = [request.getAffectedSopClassUid(), request.getAffectedSopInstanceUid()];
      this.arriving = path.join(folder, [...uids, context.getAcceptedTransferSyntaxUid(), '.dcm'].join('_'));
      return fs.createWriteStream(`${this.arriving}.part`);
    }

    createDatasetFromStoreWritableStream(writable, context, callback) {
      const done = () => {
        fs.renameSync(`${this.arriving}.part`, this.arriving);
        callback(new Dataset({}, context.getAcceptedTransferSyntaxUid()));
      };
      if (writable.writableFinished) done();
      else writable.once('finish', done);
    }

    cEchoRequest(request, callback) {
      const response = responses.CEchoResponse.fromRequest(request);
      response.setStatus(Status.Success);
      callback(response);
    }

    cStoreRequest(request, callback) {
      const response = responses.CStoreResponse.fromRequest(request);
      response.setStatus(Status.Success);
      callback(response);
    }

    associationReleaseRequested() {
      this.sendAssociationReleaseResponse();
    }
  }
  new Server(Keeper).listen(Number(port));
}

const [what, ...given] = process.argv.slice(2);
if (what === 'store') store(given[0], given[1], given.slice(2));
else receive(given[0], given[1]);
